"""A domain has one name, however a file or a flag writes it: Olmix's source:topic, source/topic and source.topic."""

import json

import pytest

from mixture_config.baseline import baseline
from mixture_config.export import export
from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import MixtureTable
from mixture_config.formats.paths import read_paths
from mixture_config.geometry.constraints import Constraints
from proxymix.errors import InputError
from proxymix.schemas import Domains, is_domain_loss, loss_domain
from regression.data.runs import resolve_targets

WRITTEN = pytest.mark.parametrize("name", ["dclm:web", "dclm/web", "dclm.web"])


@WRITTEN
@pytest.mark.parametrize("prefix", ["train_", ""])
def test_every_reader_gives_a_domain_its_one_name(tmp_path, name, prefix):
    (tmp_path / "m.yaml").write_text(f"train: {{'{prefix}{name}': 0.25, {prefix}wiki: 0.75}}\n")
    (tmp_path / "m.csv").write_text(f"index,{prefix}{name},{prefix}wiki\n1,0.25,0.75\n")
    (tmp_path / "m.json").write_text(json.dumps({"mixes": [{f"{prefix}{name}": [0.25, 1], "wiki": [0.75, 1]}]}))
    (tmp_path / "d.csv").write_text(f"domain,tokens\n{name},100\nwiki,50\n")
    assert Mixture.read(tmp_path / "m.yaml").weights == {"dclm.web": 0.25, "wiki": 0.75}
    for file in ("m.yaml", "m.csv", "m.json"):
        assert MixtureTable.read(tmp_path / file).domains == ["dclm.web", "wiki"]
    assert Domains.read(tmp_path / "d.csv").names == ("dclm.web", "wiki")
    assert [loss_domain(f"metric/{n}_val_loss") for n in (name, "wiki")] == ["dclm.web", "wiki"]
    assert is_domain_loss(f"metric/{name}_val_loss")


@WRITTEN
def test_limits_groups_targets_and_paths_name_a_domain_in_any_way(tmp_path, name):
    names = ("dclm.web", "dclm.code", "wiki")
    bounds = Constraints(limits={name: {"max": 0.5}, "all": 0.75}, groups={"all": [name, "dclm:c*"]}).bounds(names)
    assert bounds.upper.tolist() == [0.5, 1, 1]
    assert bounds.groups[0].members == (0, 1)
    columns = ["metric/dclm:web_val_loss", "metric/wiki_val_loss"]
    assert resolve_targets([name], columns, "") == columns[:1]
    assert list(read_paths([f"{name}=a"] if "/" not in name else None, "{domain}", None).of("dclm.web"))
    (tmp_path / "p.yaml").write_text(f"'{name}': data/a\nwiki: data/b\n")
    assert read_paths([str(tmp_path / "p.yaml")], "", None).of("dclm.web") == {"data/a": None}


@WRITTEN
def test_a_baseline_and_an_export_meet_by_the_one_name(tmp_path, name):
    (tmp_path / "d.csv").write_text("domain,tokens\ndclm:web,100\nwiki,50\n")
    baseline(tmp_path / "d.csv", out=tmp_path / "h.yaml", fixed={name: 0.5})
    assert Mixture.read(tmp_path / "h.yaml").weights == {"dclm.web": 0.5, "wiki": 0.5}
    export(tmp_path / "h.yaml", "megatron", ["dclm:web=a", "wiki=b"], tmp_path / "out.txt", domains=tmp_path / "d.csv")
    assert "0.5 a 0.5 b" in (tmp_path / "out.txt").read_text()


@pytest.mark.parametrize(
    ("file", "text", "read"),
    [
        ("m.yaml", "train: {'a:b': 0.5, a.b: 0.5}\n", Mixture.read),
        ("m.csv", "index,a:b,a.b\n1,0.5,0.5\n", MixtureTable.read),
        ("m.json", '{"mixes": [{"a:b": 0.5, "a.b": 0.5}]}', MixtureTable.read),
        ("d.csv", "domain,tokens\na:b,1\na.b,2\n", Domains.read),
    ],
)
def test_two_names_of_one_domain_are_refused(tmp_path, file, text, read):
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=r"a\.b"):
        read(tmp_path / file)
