"""Errors of other platforms: JavaScript, native code with registers, .NET with assemblies."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]


_JAVASCRIPT_FRAMES: Final = [
    {
        "abs_path": "https://shop.example.com/assets/vendor-5f1c.js",
        "filename": "/assets/vendor-5f1c.js",
        "function": "flushQueue",
        "lineno": 1,
        "colno": 48211,
        "in_app": False,
        "context_line": "function flushQueue(){" + "for(;q.length;)q.shift()();" * 12 + "}",
    },
    {
        "abs_path": "webpack:///./src/cart/CartView.tsx",
        "filename": "./src/cart/CartView.tsx",
        "function": "CartView.render",
        "lineno": 31,
        "colno": 27,
        "in_app": True,
        "pre_context": ["  render() {", "    const { cart } = this.props;"],
        "context_line": "    return cart.lines.map((line) => <Line {...line} />);",
        "post_context": ["  }", "}"],
        "vars": {"cart": {"id": 4711, "lines": "<undefined>"}, "isOpen": True, "coupon": None},
    },
]


def javascript_error() -> Json:
    return {
        "platform": "javascript",
        "level": "fatal",
        "transaction": "/cart/:id",
        "release": "shop-web@9.1.2",
        "environment": "production",
        "exception": {
            "values": [
                {
                    "type": "TypeError",
                    "value": "Cannot read properties of undefined (reading 'map')",
                    "mechanism": {"type": "onerror", "handled": False},
                    "stacktrace": {"frames": _JAVASCRIPT_FRAMES},
                }
            ]
        },
        "request": {"url": "https://shop.example.com/cart/4711"},
        "tags": {"browser": "Firefox 131.0", "device": "desktop"},
        "sdk": {"name": "sentry.javascript.react", "version": "8.30.0"},
    }


_REGISTERS: Final = {
    "rip": "0x00007ff6b3a41c2f",
    "rsp": "0x000000d5c6dff5a0",
    "rbp": "0xffffffffffffffff",
    "rax": "0x0",
    "rbx": "0x7fffffffffffffff",
    "rcx": "0x00000000deadbeef",
    "rdx": "0x8000000000000001",
    "r8": "0x1f",
    "r15": None,
    "xmm0": "not a number",
}
_NATIVE_FRAMES: Final = [
    {
        "instruction_addr": "0x7ff8c4f0e8d4",
        "function": "BaseThreadInitThunk",
        "package": "C:\\Windows\\System32\\kernel32.dll",
        "in_app": False,
    },
    {
        "instruction_addr": "0x7ff6b3a41c2f",
        "symbol_addr": "0x7ff6b3a41b00",
        "function": "render::Scene::draw(render::Camera const&)",
        "raw_function": "_ZN6render5Scene4drawERKNS_6CameraE",
        "filename": "scene.cpp",
        "abs_path": "D:\\build\\viewer\\src\\render\\scene.cpp",
        "lineno": 208,
        "package": "C:\\Program Files\\Viewer\\viewer.exe",
        "in_app": True,
        "pre_context": ["    for (auto const* node : nodes_) {"],
        "context_line": "        node->draw(camera);",
        "post_context": ["    }"],
    },
]
_IMAGE: Final = {
    "type": "pe",
    "code_file": "C:\\Program Files\\Viewer\\viewer.exe",
    "debug_id": "971f98e5-ce60-41ff-b2d7-235bbeb34578-1",
    "image_addr": "0x7ff6b3a00000",
    "image_size": 9007199254740993,
}


def native_crash() -> Json:
    return {
        "platform": "native",
        "level": "fatal",
        "release": "viewer@5.0.1",
        "exception": {
            "values": [
                {
                    "type": "EXCEPTION_ACCESS_VIOLATION_READ",
                    "value": "Fatal error: read at 0x0000000000000018",
                    "mechanism": {"type": "minidump", "handled": False, "synthetic": True},
                    "stacktrace": {"frames": _NATIVE_FRAMES, "registers": _REGISTERS},
                }
            ]
        },
        "debug_meta": {"images": [_IMAGE]},
        "contexts": {"device": {"arch": "x86_64"}, "os": {"name": "Windows", "version": "11"}},
        "sdk": {"name": "sentry.native", "version": "0.7.9"},
    }


def dotnet_error() -> Json:
    package = "Shop.Billing, Version=3.2.0.0, Culture=neutral, PublicKeyToken=adb9793829ddae60"
    frames = [
        {
            "module": "System.Net.Http.HttpClient",
            "function": "SendAsync",
            "package": "System.Net.Http, Version=8.0.0.0, Culture=neutral, PublicKeyToken=null",
            "in_app": False,
        },
        {
            "module": "Shop.Billing.Invoices",
            "function": "Create(Order order)",
            "filename": "Invoices.cs",
            "abs_path": "/src/Billing/Invoices.cs",
            "lineno": 77,
            "package": package,
            "in_app": True,
        },
    ]
    return {
        "platform": "csharp",
        "level": "error",
        "transaction": "POST Invoices/Create",
        "release": "billing@3.2.0",
        "exception": {
            "values": [
                {
                    "type": "System.TimeoutException",
                    "value": "The operation has timed out.",
                    "stacktrace": {"frames": frames},
                }
            ]
        },
        "sdk": {"name": "sentry.dotnet.aspnetcore", "version": "4.12.0"},
    }


def deep_recursion(depth: int = 500) -> Json:
    """A trace of ``depth`` frames, which a page must not take seconds to draw."""
    frames = [
        {
            "filename": "tree/walk.py",
            "abs_path": "/srv/tree/walk.py",
            "module": "tree.walk",
            "function": "visit",
            "lineno": 40 + number % 3,
            "context_line": "        return [visit(child) for child in node.children]",
            "vars": {"depth": number, "node": f"<Node {number}>"},
            "in_app": number % 2 == 0,
        }
        for number in range(depth)
    ]
    error = {
        "type": "RecursionError",
        "value": "maximum recursion depth exceeded",
        "stacktrace": {"frames": frames},
    }
    return {
        "platform": "python",
        "level": "error",
        "transaction": "tree.rebuild",
        "exception": {"values": [error]},
        "sdk": {"name": "sentry.python", "version": "2.40.0"},
    }
