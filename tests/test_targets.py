from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from blast_deploy.errors import InvalidInputError
from blast_deploy.targets import decode, list_targets, load_target, target_names

NAMES = ("cpu-native", "cpu-stock", "cpu-x86-64-v3", "cpu-x86-64-v4")


def content(name: str) -> str:
    return (resources.files("blast_deploy.target_files") / f"{name}.toml").read_text()


def test_every_installed_target_loads_under_its_own_name() -> None:
    assert target_names() == NAMES
    for name in NAMES:
        assert load_target(name).name == name


def test_a_target_already_loaded_is_taken_as_it_is() -> None:
    target = load_target("cpu-stock")
    assert load_target(target) is target


def test_a_users_own_file_works_like_an_installed_one(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(content("cpu-stock").replace('name = "cpu-stock"', 'name = "mine"'))
    target = load_target(own)
    assert target.name == "mine"
    assert target.costs == load_target("cpu-stock").costs
    assert load_target(str(own)) == target


def test_an_unknown_target_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidInputError, match=r"no target 'gpu'.*cpu-native, cpu-stock, cpu-x86-64-v3"):
        load_target("gpu")


@pytest.mark.parametrize("name", ["../targets/cpu-stock", "", "cpu-stock/", "CPU-STOCK"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(InvalidInputError, match="there is no target"):
        load_target(name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nowhere\.toml does not exist"):
        load_target(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[options]", "[options]\nthreads = 2", r"mine\.toml .*unknown field `threads` in `options`"),
        ("operator_library = false", 'operator_library = "no"', r"mine\.toml .*`options\.operator_library`"),
        ("summary = ", "sumary = ", r"mine\.toml .*unknown field `sumary`"),
        ("[costs.dense]", "[costs.sparse]", r"mine\.toml .*(`dense`|`sparse`)"),
        ("gigaflops = ", "gigaflops = -1 #", r"mine\.toml .*`costs\.body\.gigaflops`"),
        ("gigaflops = ", "gigaflops = inf #", r"mine\.toml .*`costs\.body\.gigaflops`"),
        ("gigaflops = ", "gigaflops = 1e-320 #", r"mine\.toml .*`costs\.body\.gigaflops`"),
        (
            "gigaflops = ",
            'gigaflops = "many" #',
            r"mine\.toml .*`float`, got `str`.*`costs\.body\.gigaflops`",
        ),
        (
            "[costs.dense]",
            "[costs.schedule]\nlargest_tile_rows = 0\n[costs.dense]",
            r"mine\.toml .*`costs\.schedule\.largest_tile_rows`",
        ),
        ("last_cache_bytes = ", "last_cache_bytes = -1 #", r"mine\.toml .*`costs\.memory\.last_cache_bytes`"),
        (
            "[costs.memory]",
            "[peaks]\nwatts = 5\n[costs.memory]",
            r"mine\.toml .*unknown field `watts`, at `peaks`",
        ),
        (
            "block_nanoseconds = ",
            "block_nanoseconds = -1 #",
            r"mine\.toml .*`costs\.body\.block_nanoseconds`",
        ),
        ('backend = "onnxruntime"', 'backend = "magic"', r"mine\.toml .*no backend 'magic'.*onnxruntime"),
        ('name = "cpu-stock"', 'name = "CPU stock"', r"mine\.toml .*`name`"),
        ("[options]", "[options", r"mine\.toml is not valid TOML"),
        ("operator_library = false", "operator_library = true", r"mine\.toml .*`costs\.kernel` is needed"),
        (
            "operator_library = false",
            'operator_library = false\ninstruction_set = "native"',
            r"mine\.toml .*`options\.instruction_set` means nothing",
        ),
        (
            "operator_library = false",
            'instruction_set = "pentium"',
            r"mine\.toml .*Invalid enum value 'pentium'.*`options\.instruction_set`",
        ),
    ],
)
def test_a_faulty_file_is_refused_in_one_sentence(old: str, new: str, message: str) -> None:
    text = content("cpu-stock")
    assert old in text
    with pytest.raises(InvalidInputError, match=message) as caught:
        decode(text.replace(old, new, 1).encode(), "mine.toml")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="not valid TOML"):
        decode(b"\xff\xfe\x00", "mine.toml")


def test_costs_say_where_they_come_from() -> None:
    for name in NAMES:
        assert len(load_target(name).costs.origin) > 40, name


def test_the_listing_says_what_this_machine_can_do() -> None:
    statuses = {status.name: status for status in list_targets()}
    assert tuple(statuses) == NAMES
    assert statuses["cpu-stock"].runs_here
    assert statuses["cpu-stock"].compiles_here
    for status in statuses.values():
        assert bool(status.reason) == (not (status.runs_here and status.compiles_here)), status


def test_the_listing_gives_the_reason_on_a_lesser_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blast_deploy.native.Library.instruction_sets", lambda self: ("x86-64-v3", "x86-64"))
    statuses = {status.name: status for status in list_targets()}
    assert not statuses["cpu-x86-64-v4"].runs_here
    assert statuses["cpu-x86-64-v4"].compiles_here
    assert "lacks x86-64-v4 (it has x86-64-v3, x86-64)" in statuses["cpu-x86-64-v4"].reason
    assert statuses["cpu-x86-64-v3"].runs_here


def test_without_the_library_only_the_stock_target_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BLAST_DEPLOY_LIBRARY", str(tmp_path / "gone.so"))
    left = [status.name for status in list_targets() if status.runs_here and status.compiles_here]
    assert left == ["cpu-stock"]
