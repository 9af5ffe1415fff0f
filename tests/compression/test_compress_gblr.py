"""compress with --structure gblr and auto: folders, budgets, resuming, and the better of two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gblr_models import odd, random
from torch import nn

import blast_deploy as bd
from blast_deploy.checkpoints.folder import load
from blast_deploy.compression import intervals
from blast_deploy.compression.finished import FinishedLayers
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.module import BlastLinear
from blast_deploy.structures.gblr.coverage import intervals_of
from blast_deploy.structures.gblr.module import GblrLinear


def module_of() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 36), nn.Tanh(), nn.Linear(36, 20, bias=False))


def test_a_folder_the_whole_way(tiny_bert_folder: Path, tmp_path: Path) -> None:
    result = bd.compress(tiny_bert_folder, tmp_path / "out", structure="gblr", keep=0.5)
    assert (result.structure, result.method) == ("gblr", "intervals")
    assert 0.495 * result.dense_parameters <= result.parameters <= 0.5 * result.dense_parameters
    loaded = load(tmp_path / "out")
    for layer in result.layers:
        found = loaded.get_submodule(layer.name)
        assert isinstance(found, GblrLinear)
        assert (layer.structure, layer.blocks, layer.rank) == ("gblr", (1, 1), found.components)
        assert layer.parameters == found.matrix().cost.parameters
        assert layer.indices == 4 * found.components
        assert layer.relative_error < 0.9
        assert layer.intervals == intervals_of(found.matrix())
    bd.export(tmp_path / "out", path=tmp_path / "model.onnx")
    bd.compile(tmp_path / "model.onnx", "cpu-stock", tmp_path / "artifact", shape="batch=1,sequence=4:8")
    verdict = bd.verify(tmp_path / "artifact", layers=True)
    assert (verdict.verdict, verdict.reasons) == ("passed", ())
    assert verdict.compression_loss is not None
    for place in ("out", "model.onnx", "artifact"):
        assert [layer.intervals for layer in bd.inspect(tmp_path / place).layers] == [
            layer.intervals for layer in result.layers
        ]


def test_calibration_brings_outputs_nearer(tiny_bert_folder: Path, tiny_text: Path) -> None:
    pattern = "encoder.layer.0.attention.*"
    aware = bd.compress(tiny_bert_folder, structure="gblr", calibration=tiny_text, layers=pattern)
    blind = bd.compress(tiny_bert_folder, structure="gblr", layers=pattern)
    plain = bd.compress(tiny_bert_folder, calibration=tiny_text, layers=pattern, method="alternating")
    assert len(aware.layers) == len(plain.layers) > 0
    assert blind.layers[0].activation_error is None
    for with_data, without in zip(aware.layers, plain.layers, strict=True):
        assert with_data.activation_error is not None
        assert without.activation_error is not None
        assert with_data.activation_error < without.activation_error


def test_auto_takes_the_better_at_equal_cost() -> None:
    module = module_of()
    with torch.no_grad():  # one layer is BLAST, the other GBLR
        blast = BlastLinear(24, 36, blocks=4, rank=4)
        module[0].weight.copy_(blast.dense_weight())
        matrix = random(20, 36, 10, widest=0.4, seed=1)
        module[2].weight.copy_(torch.tensor(matrix.dense()))
    result = bd.compress(module, structure="auto", keep=0.4, layers="*")
    assert [layer.structure for layer in result.layers] == ["blast", "gblr"]
    assert isinstance(result.module[0], BlastLinear)
    assert isinstance(result.module[2], GblrLinear)
    assert result.module[2].bias is None
    assert result.method == "best"
    alone = bd.compress(module, keep=0.4, layers="*")
    assert result.layers[1].parameters <= alone.layers[1].parameters
    assert result.layers[1].relative_error < alone.layers[1].relative_error


def test_finished_layers_are_not_made_again(
    tiny_bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, whole = [], intervals.factorise

    def interrupted(*arguments: object, **keywords: object) -> object:
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(whole(*arguments, **keywords))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(intervals, "factorise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bd.compress(tiny_bert_folder, tmp_path / "out", structure="gblr")
    monkeypatch.setattr(intervals, "factorise", whole)
    result = bd.compress(tiny_bert_folder, tmp_path / "out", structure="gblr")
    assert sum(layer.resumed for layer in result.layers) == 5
    again = bd.compress(tiny_bert_folder, structure="gblr")
    errors = [[layer.relative_error for layer in each.layers] for each in (result, again)]
    assert errors[0] == errors[1]


def test_kept_layers_come_back_bit_exact(tmp_path: Path) -> None:
    matrix = odd("wraps-around")
    FinishedLayers(tmp_path / "work", "a").put(3, matrix, 1.5)
    found = FinishedLayers(tmp_path / "work", "a").get(3, 11, 7)
    assert found is not None
    assert (found[0].dense() == matrix.dense()).all()
    assert found[1] == 1.5
    assert FinishedLayers(tmp_path / "work", "a").get(3, 4, 4) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"structure": "monarch"}, "'monarch' is not known; choose one of blast, gblr, auto"),
        ({"structure": "gblr", "method": "gradient"}, "for structure gblr; choose one of intervals"),
        ({"structure": "blast", "method": "intervals"}, "for structure blast; choose one of activation"),
        ({"structure": "auto", "method": "activation"}, "for structure auto; choose one of best"),
        ({"structure": "gblr", "keep": 0.002}, "has 1 parameters at keep 0.002, and a component takes 2"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        bd.compress(module_of(), layers="*", **arguments)  # type: ignore[arg-type]
