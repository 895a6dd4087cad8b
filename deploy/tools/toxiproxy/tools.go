//go:build tools

// Package tools names the program that is built from this module, so that go.mod pins it.
package tools

import _ "github.com/Shopify/toxiproxy/v2/cmd/server"
