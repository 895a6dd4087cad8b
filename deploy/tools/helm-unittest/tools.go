//go:build tools

// Package tools names the program that is built from this module, so that go.mod pins it.
package tools

import _ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
