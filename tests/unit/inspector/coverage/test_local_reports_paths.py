"""Matching a frame to a reported file: mappings, endings, modules and packages."""

from __future__ import annotations

import pytest

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.coverage.local_reports import (
    AmbiguousPath,
    FramePath,
    PathIndex,
    ReportedFile,
    map_path,
    split,
)
from consumer_fleet.inspector.coverage.service import CoverageQuery, PathMapping


def found(reported: list[str], query: CoverageQuery, *mappings: PathMapping) -> list[str]:
    index = PathIndex(ReportedFile(split(path), {}) for path in reported)
    return ["/".join(file.segments) for file in index.find(FramePath.of(query, mappings))]


def python_frame(root: str, path: str) -> CoverageQuery:
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return CoverageQuery(path, sdk_name="sentry.python", abs_path=f"{root}/{path}", module=module)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/srv/app/shop/models.py", ("srv", "app", "shop", "models.py")),
        ("./shop//models.py", ("shop", "models.py")),
        ("shop/../../etc/passwd", ("etc", "passwd")),
        (r"C:\app\Shop\Models.cs", ("C:", "app", "Shop", "Models.cs")),
        ("app:///src/main.js", ("src", "main.js")),
        ("webpack://shop/./src/main.ts?a1b2", ("shop", "src", "main.ts")),
        ("https://cdn.example/static/app.js#x", ("cdn.example", "static", "app.js")),
        ("what?.py", ("what?.py",)),
        ("", ()),
    ],
)
def test_paths_of_all_platforms_have_comparable_names(path: str, names: tuple[str, ...]) -> None:
    assert split(path) == names


# -- by their endings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reported",
    [
        "shop/models.py",
        "src/shop/models.py",
        "/ci/build/src/shop/models.py",
        "/srv/app/shop/models.py",
    ],
)
def test_a_file_is_found_wherever_the_tests_had_it(reported: str) -> None:
    names = [reported, "shop/views.py", "src/models.py", "other/models.py"]
    assert found(names, python_frame("/srv/app", "shop/models.py")) == [reported.lstrip("/")]


def test_the_longest_common_ending_wins() -> None:
    reported = ["a/shop/models.py", "b/shop/models.py"]
    assert found(reported, python_frame("/srv/b", "shop/models.py")) == ["b/shop/models.py"]


def test_a_tie_is_ambiguous_and_names_the_files() -> None:
    reported = ["a/shop/models.py", "b/shop/models.py"]
    with pytest.raises(AmbiguousPath, match=r"a/shop/models\.py, b/shop/models\.py"):
        found(reported, python_frame("/srv", "shop/models.py"))


def test_one_file_under_a_shorter_and_a_longer_path_is_not_a_tie() -> None:
    reported = ["src/shop/models.py", "/ci/src/shop/models.py", "src/shop/models.py"]
    assert len(found(reported, python_frame("/srv/src", "shop/models.py"))) == 3


def test_different_longer_paths_with_a_common_shorter_one_are_a_tie() -> None:
    reported = ["shop/models.py", "/ci/a/shop/models.py", "/ci/b/shop/models.py"]
    with pytest.raises(AmbiguousPath):
        found(reported, python_frame("/srv", "shop/models.py"))


@pytest.mark.parametrize(
    "path",
    ["requests/models.py", "django/core/management/__init__.py", "celery/app/base.py"],
)
def test_a_library_file_does_not_match_a_file_with_the_same_ending(path: str) -> None:
    reported = [
        "models.py",
        "shop/models.py",
        "shop/core/management/__init__.py",
        "shop/app/base.py",
    ]
    assert found(reported, python_frame("/usr/lib/python3/site-packages", path)) == []


def test_a_bare_file_name_matches_only_a_file_at_the_root() -> None:
    assert found(["app.py"], python_frame("/srv", "app.py")) == ["app.py"]
    assert found(["shop/app.py"], python_frame("/srv", "app.py")) == []
    assert found(["shop/app.py"], python_frame("/ci/shop", "app.py")) == ["shop/app.py"]


@pytest.mark.parametrize(
    ("path", "reported"),
    [
        ("app:///src/main.js", "src/main.js"),
        ("app:///src/main.js", "/ci/web/src/main.js"),
        ("/app/dist/src/main.js", "src/main.js"),
        ("/app/src/main.js", "/ci/web/src/main.js"),
        ("webpack://shop/./src/main.ts", "packages/shop/src/main.ts"),
    ],
)
def test_frames_with_full_paths_only_are_found_by_a_common_ending(path: str, reported: str) -> None:
    query = CoverageQuery(path, sdk_name="sentry.javascript.node", abs_path=path)
    assert found([reported, "src/other.js"], query) == [reported.lstrip("/")]


def test_a_full_path_in_a_library_needs_all_of_a_reported_path() -> None:
    path = "/app/node_modules/express/lib/router/index.js"
    query = CoverageQuery(path, abs_path=path)
    assert found(["/ci/web/lib/router/index.js"], query) == []
    assert found(["express/lib/router/index.js"], query) == ["express/lib/router/index.js"]


def test_a_bare_name_is_not_enough_if_more_is_known() -> None:
    path = "/app/lib/index.js"
    assert found(["src/index.js", "index.js"], CoverageQuery(path, abs_path=path)) == []
    assert found(["src/index.js"], CoverageQuery("index.js")) == ["src/index.js"]


def test_names_are_case_sensitive() -> None:
    assert found(["shop/Models.py"], CoverageQuery("shop/models.py")) == []


@pytest.mark.parametrize(
    "query",
    [
        CoverageQuery(""),
        CoverageQuery("/"),
        CoverageQuery("../.."),
        CoverageQuery("<frozen importlib._bootstrap>"),
        CoverageQuery("\ud800/\x00"),
        CoverageQuery("a" * 100_000),
        CoverageQuery("/" * 100_000),
    ],
)
def test_odd_paths_are_not_found(query: CoverageQuery) -> None:
    assert found(["shop/models.py", "", "/"], query) == []


# -- modules and packages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "path", "reported"),
    [
        ("shop.models", "/srv/shop/models.py", "shop/models.py"),
        ("shop", "/srv/shop/__init__.py", "shop/__init__.py"),
    ],
)
def test_a_python_module_names_its_path(module: str, path: str, reported: str) -> None:
    query = CoverageQuery(path, abs_path=path, module=module)
    assert FramePath.of(query, ()).in_repository == reported
    assert found([reported], query) == [reported]
    assert found([reported.replace("shop", "shoes")], query) == []


def test_a_module_with_another_name_than_the_file_is_ignored() -> None:
    path = "/srv/Shop/Models.cs"
    query = CoverageQuery(path, abs_path=path, module="Shop.Models")
    assert FramePath.of(query, ()).in_repository is None
    assert found(["/ci/Shop/Models.cs"], query) == ["ci/Shop/Models.cs"]


@pytest.mark.parametrize(
    ("file", "module", "package"),
    [
        ("Cart.java", "com.example.shop.Cart", None),
        ("Cart.java", "com.example.shop.Cart$Item", None),
        ("Cart.java", None, "com.example.shop"),
        ("Cart.kt", "com.example.shop.CartKt", None),
    ],
)
def test_a_jvm_file_is_found_by_its_package(
    file: str, module: str | None, package: str | None
) -> None:
    query = CoverageQuery(
        file, sdk_name="sentry.java", abs_path=file, module=module, package=package
    )
    reported = [f"com/example/{folder}/{file}" for folder in ("shop", "web")]
    assert found(reported, query) == [reported[0]]
    under_source = [f"/ci/src/main/java/{path}" for path in reported]
    assert found(under_source, query) == [under_source[0].lstrip("/")]


def test_a_jvm_file_without_a_package_is_found_if_it_is_unique() -> None:
    query = CoverageQuery("Cart.java", abs_path="Cart.java")
    assert found(["com/example/Cart.java"], query) == ["com/example/Cart.java"]
    with pytest.raises(AmbiguousPath):
        found(["com/example/a/Cart.java", "com/example/b/Cart.java"], query)


# -- mappings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "path", "mapped"),
    [
        ("/srv/app=src", "/srv/app/shop/models.py", "src/shop/models.py"),
        ("/srv/app/=src", "/srv/app/shop/models.py", "src/shop/models.py"),
        ("/srv/app/=src/", "/srv/app/shop/models.py", "src/shop/models.py"),
        ("/srv/app=", "/srv/app/shop/models.py", "shop/models.py"),
        ("/srv/app=src", "/srv/apple/models.py", None),
        ("/srv/app=src", "/opt/srv/app/models.py", None),
        ("=src", "shop/models.py", "src/shop/models.py"),
        ("=src", "/shop/models.py", None),
        ("=src", "", None),
        ("app:///=web/", "app:///src/main.js", "web/src/main.js"),
        (r"C:\app=src", r"C:\app\Shop\Models.cs", "src/Shop/Models.cs"),
        ("a=b=c", "a/x", "b=c/x"),
    ],
)
def test_a_mapping_replaces_a_whole_prefix(mapping: str, path: str, mapped: str | None) -> None:
    assert map_path(path, [PathMapping.parse(mapping)]) == mapped


def test_the_longest_prefix_wins_in_any_order() -> None:
    mappings = [PathMapping("/srv", "x"), PathMapping("/srv/app", "y"), PathMapping("/s", "z")]
    assert map_path("/srv/app/a.py", mappings) == "y/a.py"
    assert map_path("/srv/app/a.py", mappings[::-1]) == "y/a.py"


def test_a_mapped_path_resolves_ambiguous_endings() -> None:
    reported = ["a/shop/models.py", "b/shop/models.py"]
    query = python_frame("/srv", "shop/models.py")
    assert found(reported, query, PathMapping("/srv", "b")) == ["b/shop/models.py"]
    assert found(reported, query, PathMapping("shop", "a/shop")) == ["a/shop/models.py"]
    assert found(reported, query, PathMapping("/srv", "c")) == []


def test_a_mapping_may_replace_a_java_package_by_its_source_folder() -> None:
    query = CoverageQuery("Cart.java", abs_path="Cart.java", module="com.example.Cart")
    mapping = PathMapping("com/example", "src/main/java/com/example")
    frame = FramePath.of(query, [mapping])
    assert frame.in_repository == "src/main/java/com/example/Cart.java"


def test_a_mapping_without_an_equals_sign_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="FROM=TO"):
        PathMapping.parse("/srv/app")


def test_without_a_mapping_the_relative_path_is_the_repository_path() -> None:
    assert FramePath.of(CoverageQuery("shop/models.py"), ()).in_repository == "shop/models.py"
    assert FramePath.of(CoverageQuery("/srv/main.js"), ()).in_repository is None
    assert FramePath.of(CoverageQuery(""), ()).in_repository is None
