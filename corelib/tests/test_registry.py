"""Looking up components: names, aliases, collisions, suggestions, user code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wf import Catalogue, Component
from wf.discovery.entry import entry_of
from wf.discovery.plugins import Plugin
from wf.discovery.settings import Pin
from wf.errors import PluginError, UsageError
from wf.registry import Registry, read_kind
from wf.traits import DatasetTraits


def plugin(name: str, *components: Component | Catalogue, distribution: str | None = None, **fields: Any) -> Plugin:
    fields = {"status": "ok", "version": "1", "module": name, **fields}
    return Plugin(name=name, distribution=distribution or name, components=components, **fields)


def loss(name: str, **fields: Any) -> Component:
    return Component("loss", name, "wf.declarations.component:Component", **fields)


REGISTRY = Registry(
    [
        plugin("ours", loss("l1", aliases=("mae",)), loss("focal"), Component("model", "mlp", "m:A")),
        plugin("theirs", loss("focal"), loss("mae"), loss("my_loss"), Component("model", "deep/Net", "m:A")),
    ]
)


@pytest.mark.parametrize("name", ["l1", "L1", " l1 ", "l1@ours", "L1@Ours"])
def test_find(name: str) -> None:
    entry = REGISTRY.find("loss", name)
    assert (entry.component.name, entry.provider) == ("l1", "ours")


@pytest.mark.parametrize("name", ["my_loss", "my-loss", "My_Loss"])
def test_underscores_and_case_do_not_matter(name: str) -> None:
    assert REGISTRY.find("loss", name).component.name == "my_loss"


def test_catalogue_member_names_are_case_sensitive() -> None:
    assert REGISTRY.find("model", "deep/Net").component.name == "deep/Net"
    with pytest.raises(UsageError, match="did you mean 'deep/Net'"):
        REGISTRY.find("model", "deep/net")


@pytest.mark.parametrize("reverse", [False, True])
def test_a_name_of_two_plugins_needs_the_provider(reverse: bool) -> None:
    registry = Registry(sorted(REGISTRY.plugins, key=lambda plugin: plugin.name, reverse=reverse))
    with pytest.raises(UsageError, match="loss 'focal' comes from 2 plugins\n  say which one: focal@"):
        registry.find("loss", "focal")
    assert registry.find("loss", "focal@theirs").provider == "theirs"
    assert registry.is_ambiguous(registry.find("loss", "focal@ours").component)
    assert not registry.is_ambiguous(registry.find("loss", "l1").component)
    assert len([entry for entry in registry.entries("loss") if entry.component.name == "focal"]) == 2


def test_a_name_equal_to_an_alias_of_another_plugin_is_ambiguous() -> None:
    with pytest.raises(UsageError, match="say which one: mae@theirs or l1@ours"):
        REGISTRY.find("loss", "mae")
    assert REGISTRY.find("loss", "mae@ours").component.name == "l1"
    assert REGISTRY.find("loss", "mae@theirs").component.name == "mae"
    assert REGISTRY.is_ambiguous(REGISTRY.find("loss", "mae@theirs").component)


def test_shared_names_lists_names_of_several_plugins() -> None:
    assert REGISTRY.shared_names() == [("loss", "focal"), ("loss", "mae")]
    zoo = Catalogue("model", "zoo", "m:make", "m:names.txt")
    both = Registry([plugin("a", zoo), plugin("b", zoo)])
    assert both.shared_names() == [("model", "zoo/*")]


# Pins


def pinned(**pins: str) -> Registry:
    return Registry(REGISTRY.plugins, [Pin("loss", name, provider, "settings.toml") for name, provider in pins.items()])


@pytest.mark.parametrize("provider", ["ours", "theirs", "Theirs"])
def test_a_pin_settles_a_name(provider: str) -> None:
    registry = pinned(Focal=provider)
    assert registry.find("loss", "focal").provider == provider.lower()
    assert registry.find("loss", "focal@ours").provider == "ours"
    assert registry.is_ambiguous(registry.find("loss", "focal").component), "the run file says which one"


def test_a_project_pin_that_replaces_a_builtin_name_gives_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    plugins = [plugin("wf-losses", loss("sharp")), plugin("strangers", loss("sharp"))]
    for provider, of_project, told in (
        ("strangers", False, ""),
        ("wf-losses", True, ""),
        ("strangers", True, "pins it"),
    ):
        pin = Pin("loss", "sharp", provider, "pyproject.toml", of_project=of_project)
        assert Registry(plugins, [pin]).find("loss", "sharp").provider == provider
        assert told in caplog.text
        assert bool(caplog.text) == bool(told)


def test_a_pin_holds_for_an_alias() -> None:
    assert pinned(l1="ours").find("loss", "mae").component.name == "l1"
    assert pinned(mae="theirs").find("loss", "mae").component.name == "mae"
    assert pinned(l1="theirs", mae="ours").find("loss", "mae").component.name == "l1"


def test_a_pin_leaves_aliases_of_other_plugins_alone() -> None:
    ours = plugin("ours", Component("loss", "focal", "m:A", aliases=("focal-loss",)))
    registry = Registry([ours, plugin("theirs", loss("focal"))], [Pin("loss", "focal", "theirs", "settings.toml")])
    assert registry.find("loss", "focal").provider == "theirs"
    assert registry.find("loss", "focal-loss").provider == "ours"


def test_the_first_of_two_pins_wins() -> None:
    pins = [Pin("loss", "focal", "theirs", "pyproject.toml"), Pin("loss", "focal", "ours", "settings.toml")]
    assert Registry(REGISTRY.plugins, pins).find("loss", "focal").provider == "theirs"


def test_a_pin_to_a_plugin_without_the_component_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        pinned(l1="theirs").find("loss", "l1")
    assert str(caught.value) == (
        "loss 'l1' is pinned to theirs, which does not bring it\n"
        "  the pin stands in settings.toml\n  available: l1@ours"
    )


def test_a_pin_to_a_plugin_that_is_not_loaded() -> None:
    broken = plugin("broken", status="failed", error="ImportError: no", fix="fix it", promised=(("loss", "focal"),))
    registry = Registry([*REGISTRY.plugins, broken], [Pin("loss", "focal", "broken", "settings.toml")])
    for name in ("focal", "focal@broken"):
        with pytest.raises(PluginError, match=r"is brought by broken, which is not loaded \(failed\)"):
            registry.find("loss", name)
    assert registry.find("loss", "focal@ours").provider == "ours"


def test_an_unknown_provider() -> None:
    with pytest.raises(UsageError, match="unknown provider of loss 'focal' 'their'\n  did you mean 'theirs'"):
        REGISTRY.find("loss", "focal@their")


@pytest.mark.parametrize("name", ["focal@", "@ours", "@", "focal@ "])
def test_incomplete_qualified_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"loss '{name}' is not of the form NAME or NAME@DISTRIBUTION"):
        REGISTRY.find("loss", name)


def test_a_provider_that_is_not_installed_or_not_loaded() -> None:
    with pytest.raises(PluginError) as caught:
        REGISTRY.find("loss", "focal@my-losses")
    assert str(caught.value) == (
        "loss 'focal' should come from my-losses, which is not installed\n"
        "  wf knows of no plugin of that name: is it spelt right?\n"
        "  available: focal@ours or focal@theirs"
    )
    with pytest.raises(PluginError, match="loss 'huber' should come from my-losses, which is not installed"):
        REGISTRY.find("loss", "huber@my-losses")
    with pytest.raises(PluginError, match=r"from pluggy, which is installed but not loaded\n  it is left out"):
        REGISTRY.find("loss", "focal@pluggy")


@pytest.mark.parametrize("provider", ["my_file", "my-file", "dist", "Dist", "dist[more]"])
def test_every_way_to_name_a_provider(provider: str) -> None:
    registry = Registry(
        [
            plugin("my_file", loss("a"), distribution="file"),
            plugin("dist[more]", loss("b"), distribution="Dist"),
            plugin("other", loss("a"), loss("b")),
        ]
    )
    name = "a" if "file" in provider else "b"
    assert registry.find("loss", f"{name}@{provider}").provider in ("my_file", "dist[more]")


def test_an_unknown_name_lists_the_available_names() -> None:
    with pytest.raises(UsageError) as caught:
        REGISTRY.find("loss", "focl")
    lines = str(caught.value).splitlines()
    assert lines[0] == "unknown loss 'focl'"
    assert lines[1] == "  did you mean 'focal'?"
    assert lines[2] == "  available: focal, l1, mae, my_loss"
    assert lines[-1] == "  see: wf list loss   own code: --loss path.py:Name"


def test_a_name_of_another_kind_suggests_that_kind() -> None:
    with pytest.raises(UsageError, match="'mlp' is a model: use --model mlp"):
        REGISTRY.find("loss", "mlp")


def test_a_component_of_a_broken_plugin_names_the_plugin() -> None:
    promised = (("loss", "Huber"), ("model", "zoo/*"))
    broken = plugin("broken", status="failed", error="ImportError: no", fix="fix it", promised=promised)
    with pytest.raises(PluginError) as caught:
        Registry([broken]).find("loss", "huber")
    assert str(caught.value) == (
        "loss 'huber' is brought by broken, which is not loaded (failed)\n  ImportError: no\n  try: fix it"
    )
    assert caught.value.exit_code == 3
    with pytest.raises(PluginError, match="model 'zoo/any' is brought by broken"):
        Registry([broken]).find("model", "zoo/any")


def test_a_component_of_a_blocked_known_plugin_names_the_plugin() -> None:
    blocked = plugin("wf-losses", status="blocked", error="left out by -p no:wf-losses")
    with pytest.raises(
        PluginError, match=r"is brought by wf-losses, which is not loaded \(blocked\)\n  left out by -p no:wf-losses$"
    ):
        Registry([blocked]).find("loss", "focal")


def test_a_component_of_a_known_uninstalled_plugin_names_the_plugin() -> None:
    with pytest.raises(
        UsageError, match=r"wf-example brings loss 'log-cosh' and is not installed: pip install \./examples/"
    ):
        REGISTRY.find("loss", "log-cosh")


def test_a_member_of_a_known_uninstalled_catalogue_names_the_plugin() -> None:
    with pytest.raises(UsageError, match=r"wf-pytorch-optimizer brings optimizer 'pytorch-optimizer/lion' and is not"):
        REGISTRY.find("optimizer", "lion")
    with pytest.raises(UsageError, match=r"did you mean 'torchvision/resnet18'") as caught:
        Registry.discover(only_builtin=True).find("model", "resnet18")
    assert "timm" not in str(caught.value)


def test_plugins_that_are_not_loaded_are_mentioned() -> None:
    registry = Registry([plugin("broken", status="failed"), plugin("off", status="blocked")])
    with pytest.raises(UsageError, match=r"not loaded: broken \(failed\), off \(blocked\); see wf list-plugins"):
        registry.find("loss", "huber")


def test_catalogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zoo_of_test").mkdir()
    (tmp_path / "zoo_of_test" / "names.txt").write_text("ResNet18\nvgg11\nbad refused needs a step count\n")
    (tmp_path / "zoo_of_test" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    zoo = Catalogue("model", "zoo", "m:make", "zoo_of_test:names.txt")
    registry = Registry([plugin("ours", zoo, Component("model", "mlp", "m:A"))])
    assert registry.find("model", "zoo/ResNet18").component.args == ("ResNet18",)
    assert registry.find("model", "Zoo/vgg11@ours").component.name == "zoo/vgg11"
    assert [entry.component.name for entry in registry.entries("model")] == ["mlp"]
    assert [entry.component.name for entry in registry.entries(catalogues=True)] == [
        *("mlp", "zoo/ResNet18", "zoo/vgg11", "zoo/bad")
    ]
    with pytest.raises(UsageError, match="model 'zoo/bad' cannot be used: needs a step count"):
        registry.find("model", "zoo/bad")
    like = plugin("like", Component("model", "lenet18", "m:A"))  # a closer match that is not the module
    with pytest.raises(UsageError, match=r"did you mean 'zoo/ResNet18' or 'lenet18'.*\n  available: .* zoo/\.\.\."):
        Registry([*registry.plugins, like]).find("model", "resnet18")
    assert not list(registry.catalogues("loss"))
    for wrong in ("zoo/resnet18", "resnet18", "zoo/ResNet"):
        with pytest.raises(UsageError, match="did you mean 'zoo/ResNet18'"):
            registry.find("model", wrong)
    both = Registry([*registry.plugins, plugin("theirs", zoo)])
    with pytest.raises(UsageError, match="say which one: zoo/vgg11@ours or zoo/vgg11@theirs"):
        both.find("model", "zoo/vgg11")
    assert both.is_ambiguous(zoo.member("vgg11"))


def test_entries_are_sorted_by_kind_and_name() -> None:
    assert [entry.component.name for entry in REGISTRY.entries()] == [
        *("deep/Net", "mlp", "focal", "focal", "l1", "mae", "my_loss")
    ]
    assert (
        REGISTRY.kinds_of("focal") == REGISTRY.kinds_of("focal@ours") == REGISTRY.kinds_of("focal@nobody") == ["loss"]
    )
    several = Registry([*REGISTRY.plugins, plugin("third", Component("metric", "mae", "m:A"))])
    assert several.kinds_of("mae") == several.kinds_of("mae@nobody") == ["loss", "metric"]
    assert several.kinds_of("mae@Third") == ["metric"]
    assert REGISTRY.has("loss", "mae")
    assert not REGISTRY.has("model", "mae")


def test_a_file_name_selects_the_dataset_that_reads_it() -> None:
    traits = DatasetTraits(files=(".csv", ".tsv"))
    csv = Component("dataset", "csv", "m:A", traits=traits)
    registry = Registry(
        [plugin("ours", csv, Component("dataset", "folder", "m:A", traits=DatasetTraits(files=("/",))))]
    )
    assert registry.for_file("dataset", "House.CSV") is not None
    assert registry.for_file("dataset", "photos/").component.name == "folder"  # type: ignore[union-attr]  # it is there
    assert registry.for_file("dataset", "house.parquet") is None
    both = Registry([*registry.plugins, plugin("theirs", csv)])
    with pytest.raises(UsageError, match=r"several datasets read files like 'a.csv': csv@ours or csv@theirs"):
        both.for_file("dataset", "a.csv")


@pytest.mark.parametrize(("word", "kind"), [("losses", "loss"), ("Loss", "loss"), ("metrics", "metric")])
def test_kinds_are_read_in_singular_and_plural(word: str, kind: str) -> None:
    assert read_kind(word) == kind


def test_unknown_kind() -> None:
    with pytest.raises(UsageError, match="unknown kind 'lose'\n  did you mean 'loss'"):
        read_kind("lose")


# Targets


@pytest.fixture
def net_file(tmp_path: Path) -> str:
    file = tmp_path / "größe_net.py"
    file.write_text("class Net:\n    class Inner: pass\n    size = 3\n\ndef make(): pass\n_hidden = 1\n")
    return str(file)


def test_user_code_by_path_and_by_module(net_file: str) -> None:
    entry = REGISTRY.find("model", f"{net_file}:Net.Inner")
    assert entry.load().__name__ == "Inner"
    assert entry.provider == "own code"
    assert entry.component.target_name == f"{net_file}:Net.Inner"
    assert entry.place() == f"{net_file}:2"
    assert REGISTRY.find("model", "wf.declarations.component:Param").load().__name__ == "Param"


def test_user_code_in_a_file_with_a_long_name() -> None:
    assert REGISTRY.find("model", f"{'a' * 120}.py:Net").component.name == "a" * 76 + "-net"


@pytest.mark.parametrize("name", [":Net", "net.py:", ":"])
def test_malformed_references_to_code_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"is not of the form path.py:Attr or package.module:Attr"):
        REGISTRY.find("model", name)


def test_user_code_that_does_not_exist(net_file: str) -> None:
    with pytest.raises(UsageError, match=r"unknown name in .*'Nett'\n  did you mean 'Net'\?\n  available: Net, make$"):
        REGISTRY.find("model", f"{net_file}:Nett").load()
    with pytest.raises(UsageError, match=r"is int, which cannot be called"):
        REGISTRY.find("model", f"{net_file}:Net.size").load()
    with pytest.raises(UsageError, match=r"there is no file .*\n  in that folder: "):
        REGISTRY.find("model", f"{net_file.replace('net.py', 'nets.py')}:Net").load()
    with pytest.raises(UsageError, match=r"model 'nowhere:Net': .*looked for it in the working directory"):
        REGISTRY.find("model", "nowhere:Net").load()


@pytest.mark.parametrize("text", ["import nowhere", "raise SystemExit(2)", "def (:"])
def test_user_code_that_cannot_be_imported(tmp_path: Path, text: str) -> None:
    (tmp_path / "net.py").write_text(text)
    with pytest.raises(PluginError, match="model 'net-net' of own code could not be loaded\n  ") as caught:
        REGISTRY.find("model", f"{tmp_path}/net.py:Net").load()
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("target", ["nowhere.deep:A", "wf.declarations.component:Nothing"])
def test_a_plugin_whose_target_does_not_exist(target: str) -> None:
    registry = Registry([plugin("ours", Component("loss", "x", target))])
    with pytest.raises(PluginError):
        registry.find("loss", "x").load()


def test_live_classes_and_functions() -> None:
    entry = entry_of("model", Registry)
    assert (entry.component.name, entry.load(), entry.plugin) == ("registry", Registry, None)
    assert entry_of("loss", lambda a, b: a).component.name == "lambda"
    assert entry_of("loss", len).place() is None


MOVED = loss("huber", moved_from={"Old_Name": "old_name:Huber"})


@pytest.mark.parametrize("name", ["huber", "huber@new", "huber@old-name"])
def test_a_moved_component_is_found_under_its_old_plugin(name: str) -> None:
    assert Registry([plugin("new", MOVED)]).find("loss", name).provider == "new"


def test_a_pin_to_the_old_plugin_finds_a_moved_component() -> None:
    pin = Pin("loss", "huber", "old-name", "runs/a", made_with="old-name 1")
    assert (
        Registry([plugin("new", MOVED), plugin("other", loss("huber"))], [pin]).find("loss", "huber").provider == "new"
    )
    with pytest.raises(PluginError, match="came from old-name 1"):
        Registry([plugin("new", loss("huber"))], [pin]).find("loss", "huber")


def test_a_plugin_that_has_the_component_wins_over_a_moved_one() -> None:
    registry = Registry([plugin("new", MOVED), plugin("old-name", loss("huber"))])
    assert registry.find("loss", "huber@old-name").provider == "old-name"
    with pytest.raises(UsageError, match="comes from 2 plugins"):
        registry.find("loss", "huber")


def test_a_hook_implementation_with_arguments_is_refused(tmp_path: Path) -> None:
    (tmp_path / "eager.py").write_text(
        "from wf import hookimpl\n\n\n@hookimpl\ndef wf_components(config, registry):\n    return []\n"
    )
    (plugin,) = [one for one in Registry.discover([str(tmp_path / "eager.py")]).plugins if one.name == "eager"]
    assert plugin.status == "failed"
    assert plugin.error == "PluginError: wf_components(config, registry) takes arguments; wf gives none"


def test_an_ambiguous_run_value_can_only_be_pinned(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "from wf import RunValue, hookimpl\n\n\n@hookimpl\ndef wf_values():\n"
            "    return [RunValue(name='shared', type='int', summary='', provider=lambda: 1)]\n"
        )
    registry = Registry.discover([str(tmp_path / "one.py"), str(tmp_path / "two.py")])
    with pytest.raises(UsageError, match="value 'shared' comes from 2 plugins") as caught:
        registry.find("value", "shared")
    assert "@" not in str(caught.value)
    assert "settle it in pyproject.toml: [tool.wf.pin.value] shared = " in str(caught.value)
