from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from structured_weights import relative_error
from torch import Tensor, nn

import blast_deploy as bd
from blast_deploy.checkpoints.folder import dense_reference, load
from blast_deploy.compression.compress import compress
from blast_deploy.errors import InvalidInputError, OutputExistsError
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.module import BlastLinear


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(20, 30)
        self.narrow = nn.Linear(30, 17, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.narrow(torch.relu(self.wide(x)))
        return y


@pytest.fixture
def module() -> TwoLayers:
    torch.manual_seed(0)
    return TwoLayers()


def structured(module: nn.Module) -> dict[str, BlastLinear]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, BlastLinear)}


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TestFolder:
    def test_from_folder_to_folder(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        seen: list[tuple[int, int, str]] = []
        result = bd.compress(
            tiny_bert_folder, tmp_path / "out", keep=0.5, progress=lambda *report: seen.append(report)
        )
        assert result.path == tmp_path / "out"
        assert (result.structure, result.method, result.keep) == ("blast", "alternating", 0.5)
        assert [done for done, _, _ in seen] == list(range(1, 13))
        assert {total for _, total, _ in seen} == {12}
        assert {name for _, _, name in seen} == {layer.name for layer in result.layers}
        assert list(tmp_path.iterdir()) == [tmp_path / "out"]
        loaded = load(tmp_path / "out")
        assert same(loaded, result.module)
        assert set(structured(loaded)) == {layer.name for layer in result.layers}
        assert isinstance(loaded.get_submodule("pooler.dense"), nn.Linear)
        assert (tmp_path / "out" / "tokenizer.json").exists()

    def test_numbers_are_those_of_the_layers(self, tiny_bert_folder: Path) -> None:
        original = load(tiny_bert_folder)
        result = compress(tiny_bert_folder, keep=0.6, blocks=(4, 3))
        assert result.path is None
        for layer in result.layers:
            found = structured(result.module)[layer.name]
            weight = original.get_submodule(layer.name).weight
            assert isinstance(weight, Tensor)
            assert layer.blocks == found.blocks == (4, 3)
            assert layer.rank == found.rank
            assert (layer.out_features, layer.in_features) == tuple(weight.shape)
            m, n = weight.shape
            assert layer.parameters == layer.rank * (m + n + 12) <= 0.6 * m * n
            assert layer.relative_error == pytest.approx(relative_error(weight.detach(), found.matrix()))
            assert layer.activation_error is None
            assert layer.cpu_seconds > 0
            assert not layer.resumed
            bias = original.get_submodule(layer.name).bias
            assert found.bias is not None
            assert torch.equal(found.bias, bias)  # type: ignore[arg-type]
        assert result.parameters == sum(layer.parameters for layer in result.layers)
        assert result.dense_parameters == sum(m * n for m, n in _sizes(original))
        assert bd.compress is compress

    def test_the_dense_original_is_remembered(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        compress(tiny_bert_folder, tmp_path / "out")
        reference = dense_reference(tmp_path / "out")
        assert reference is not None
        original = load(tiny_bert_folder).double()
        for sample in reference.samples:
            inputs = {name: torch.from_numpy(array) for name, array in sample.inputs.items()}
            with torch.no_grad():
                expected = original(**inputs).last_hidden_state.numpy()
            assert sample.outputs["last_hidden_state"].dtype == np.float64
            np.testing.assert_allclose(sample.outputs["last_hidden_state"], expected, rtol=1e-12, atol=1e-12)

    def test_calibration_brings_outputs_nearer(self, tiny_bert_folder: Path, tiny_text: Path) -> None:
        aware = compress(tiny_bert_folder, calibration=tiny_text)
        blind = compress(tiny_bert_folder, calibration=tiny_text, method="alternating")
        assert (aware.method, blind.method) == ("activation", "alternating")
        for with_data, without in zip(aware.layers, blind.layers, strict=True):
            assert with_data.activation_error is not None
            assert without.activation_error is not None
            assert with_data.activation_error < without.activation_error
            assert with_data.relative_error > without.relative_error

    def test_a_module_with_a_folder_for_output(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        source = load(tiny_bert_folder)
        result = compress(source, tmp_path / "out")
        assert same(load(tmp_path / "out"), result.module)
        assert not structured(source)


def _sizes(module: nn.Module) -> list[tuple[int, int]]:
    return [
        (layer.out_features, layer.in_features)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith("encoder")
    ]


class TestModule:
    def test_the_source_stays_as_it_was(self, module: TwoLayers) -> None:
        kept = copy.deepcopy(module)
        result = compress(module, layers="*")
        assert same(module, kept)
        assert set(structured(result.module)) == {"wide", "narrow"}
        assert result.module.get_submodule("narrow").bias is None
        x = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
        assert result.module(x).shape == (3, 17)

    def test_calibration_by_mappings(self, module: TwoLayers) -> None:
        batches = [
            {"x": torch.randn(50, 20, generator=torch.Generator().manual_seed(s)) ** 3} for s in (1, 2)
        ]
        aware = compress(module, layers="*", keep=0.4, blocks=2, calibration=batches)
        blind = compress(module, layers="*", keep=0.4, blocks=2)
        x = torch.cat([batch["x"] for batch in batches])
        rows = torch.relu(module.wide(x)).detach()
        metric = rows.double().T @ rows.double() / len(rows)
        errors = [
            relative_error(module.narrow.weight.detach(), structured(each.module)["narrow"].matrix(), metric)
            for each in (aware, blind)
        ]
        assert errors[0] < errors[1]
        assert aware.layers[1].activation_error == pytest.approx(errors[0], rel=1e-3)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_dtype_is_kept(self, module: TwoLayers, dtype: torch.dtype) -> None:
        result = compress(module.to(dtype), layers="wide", blocks=2)
        layer = structured(result.module)["wide"]
        assert {parameter.dtype for parameter in layer.parameters()} == {dtype}
        expected = relative_error(module.wide.weight.detach(), layer.matrix())
        assert result.layers[0].relative_error == pytest.approx(expected)

    def test_a_layer_at_two_names_stays_one(self) -> None:
        shared = nn.Linear(20, 20)
        result = compress(nn.Sequential(shared, nn.ReLU(), shared), layers="*", blocks=2)
        assert [layer.name for layer in result.layers] == ["0"]
        assert result.module[0] is result.module[2]
        assert isinstance(result.module[0], BlastLinear)

    def test_the_seed_alone_decides(self, module: TwoLayers) -> None:
        first, again, other = (compress(module, layers="*", seed=seed).module for seed in (0, 0, 1))
        assert same(first, again)
        assert not same(first, other)

    def test_the_number_of_threads_does_not_matter(self, module: TwoLayers) -> None:
        threads = torch.get_num_threads()
        results = []
        try:
            for count in (1, 3):
                torch.set_num_threads(count)
                results.append(compress(module, layers="*").module)
                assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(threads)
        assert same(*results)

    def test_gradient_method(self, module: TwoLayers) -> None:
        result = compress(module, layers="narrow", blocks=2, method="gradient")
        assert result.method == "gradient"
        assert result.layers[0].relative_error < 0.9

    def test_zero_weights(self, module: TwoLayers) -> None:
        nn.init.zeros_(module.wide.weight)
        (layer,) = compress(module, layers="wide").layers
        assert layer.relative_error == 0


KILLED = """
import sys
from blast_deploy.compression.compress import compress

def progress(done, total, name):
    print(done, flush=True)

result = compress(sys.argv[1], sys.argv[2], method="gradient", progress=progress)
print(sum(layer.resumed for layer in result.layers))
"""


def start(folder: Path, output: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    root = Path(bd.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
    )


def interrupt_after(process: subprocess.Popen[str], layers: int, number: signal.Signals) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == layers:
            process.send_signal(number)
            break
    process.wait(60)


class TestInterruption:
    def test_a_killed_run_goes_on_to_the_same_result(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        killed = start(tiny_bert_folder, tmp_path / "out")
        interrupt_after(killed, 3, signal.SIGKILL)
        assert killed.returncode == -signal.SIGKILL
        assert not (tmp_path / "out").exists()
        seen: list[int] = []
        result = compress(
            tiny_bert_folder, tmp_path / "out", method="gradient", progress=lambda done, *_: seen.append(done)
        )
        assert sum(layer.resumed for layer in result.layers) >= 3
        assert seen == list(range(1, 13))
        assert list(tmp_path.iterdir()) == [tmp_path / "out"]
        whole = compress(tiny_bert_folder, method="gradient")
        assert not any(layer.resumed for layer in whole.layers)
        assert same(load(tmp_path / "out"), whole.module)
        for resumed, fresh in zip(result.layers, whole.layers, strict=True):
            assert resumed.relative_error == fresh.relative_error

    def test_ctrl_c_leaves_whole_layers_only(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        process = start(tiny_bert_folder, tmp_path / "out")
        interrupt_after(process, 2, signal.SIGINT)
        assert process.returncode != 0
        assert process.stderr is not None
        assert "KeyboardInterrupt" in process.stderr.read()
        assert not (tmp_path / "out").exists()
        (work,) = tmp_path.iterdir()
        assert not list(work.glob("*.partial"))
        result = compress(tiny_bert_folder, tmp_path / "out", method="gradient")
        assert 2 <= sum(layer.resumed for layer in result.layers) < 12
        assert list(tmp_path.iterdir()) == [tmp_path / "out"]

    def test_interruption_before_the_first_layer_leaves_nothing(
        self, tiny_bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from blast_deploy.compression import alternating

        def interrupted(*arguments: Any, **options: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(alternating, "factorise", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compress(tiny_bert_folder, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_interruption_stops_the_layers_at_work(
        self, module: TwoLayers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When one layer's report raises, the other, which would take a minute, stops at its next sweep."""
        from blast_deploy.compression import alternating

        factorise, stopped = alternating.factorise, threading.Event()

        def endless(
            weight: Tensor, *arguments: Any, on_sweep: Callable[[], None], **options: Any
        ) -> BlastMatrix:
            for _ in range(6000 if len(weight) == 17 else 0):
                time.sleep(0.01)
                try:
                    on_sweep()
                except BaseException:
                    stopped.set()
                    raise
            return factorise(weight, *arguments, on_sweep=on_sweep, **options)

        def interrupt(done: int, total: int, name: str) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(alternating, "factorise", endless)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        with pytest.raises(KeyboardInterrupt):
            compress(module, layers="*", progress=interrupt)
        assert stopped.is_set()

    @pytest.mark.parametrize(
        "changed", [{"keep": 0.4}, {"seed": 1}, {"blocks": 2}, {"method": "alternating"}]
    )
    def test_changed_settings_start_anew(
        self, tiny_bert_folder: Path, tmp_path: Path, changed: dict[str, Any]
    ) -> None:
        settings: dict[str, Any] = {"method": "gradient", **changed}
        self._interrupt(tiny_bert_folder, tmp_path)
        result = compress(tiny_bert_folder, tmp_path / "out", **settings)
        assert not any(layer.resumed for layer in result.layers)

    def test_changed_weights_start_anew(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        self._interrupt(tiny_bert_folder, tmp_path)
        other = load(tiny_bert_folder)
        with torch.no_grad():
            other.get_submodule("encoder.layer.1.output.dense").bias.add_(1)  # type: ignore[operator]
        result = compress(other, tmp_path / "out", method="gradient")
        assert not any(layer.resumed for layer in result.layers)

    @staticmethod
    def _interrupt(folder: Path, tmp_path: Path) -> None:
        def interrupt(done: int, total: int, name: str) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compress(folder, tmp_path / "out", method="gradient", progress=interrupt)
        (work,) = tmp_path.iterdir()
        assert len(list(work.glob("*.safetensors"))) >= 2


class TestBadInput:
    @pytest.mark.parametrize("keep", [0, 1, -1, math.nan])
    def test_keep(self, module: TwoLayers, keep: float) -> None:
        with pytest.raises(InvalidInputError, match="keep must be a fraction"):
            compress(module, layers="*", keep=keep)

    def test_structure(self, module: TwoLayers) -> None:
        with pytest.raises(InvalidInputError, match=r"'monarch' is not known; .* blast, gblr, auto"):
            compress(module, layers="*", structure="monarch")

    def test_method(self, module: TwoLayers) -> None:
        with pytest.raises(
            InvalidInputError,
            match=r"'magic' is not known for structure blast; .* activation, alternating",
        ):
            compress(module, layers="*", method="magic")

    def test_activation_without_data(self, module: TwoLayers) -> None:
        with pytest.raises(InvalidInputError, match="'activation' needs calibration data"):
            compress(module, layers="*", method="activation")

    def test_pattern_that_matches_nothing(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match=r"'decoder\.\*'.*encoder\.layer\.0"):
            compress(tiny_bert_folder, tmp_path / "out", layers="decoder.*")
        assert list(tmp_path.iterdir()) == []

    def test_rank_zero_names_the_layer(self, module: TwoLayers) -> None:
        with pytest.raises(InvalidInputError, match=r"layer wide .* rank 0"):
            compress(module, layers="*", keep=0.01)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_weight_that_is_not_finite_names_the_layer(
        self, tiny_bert_folder: Path, tmp_path: Path, value: float
    ) -> None:
        source = load(tiny_bert_folder)
        with torch.no_grad():
            source.get_submodule("encoder.layer.1.output.dense").weight[0, 0] = value  # type: ignore[index, operator]
        with pytest.raises(InvalidInputError, match=r"layer encoder\.layer\.1\.output\.dense cannot .* NaN"):
            compress(source, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_bare_module_needs_a_pattern_and_has_no_folder(self, module: TwoLayers, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match="TwoLayers is no Hugging Face model"):
            compress(module)
        with pytest.raises(InvalidInputError, match="only transformers models can be written"):
            compress(module, tmp_path / "out", layers="*")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("seed", [-1, 2**63, 1.5, None])
    def test_seeds_that_are_none(self, module: TwoLayers, seed: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"seed must be an integer from 0 to 2\^63 - 1"):
            compress(module, layers="*", seed=seed)

    def test_existing_output(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        compress(tiny_bert_folder, tmp_path / "out")
        before = (tmp_path / "out" / "model.safetensors").read_bytes()
        with pytest.raises(OutputExistsError):
            compress(tiny_bert_folder, tmp_path / "out", seed=1)
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
        compress(tiny_bert_folder, tmp_path / "out", seed=1, force=True)
        assert (tmp_path / "out" / "model.safetensors").read_bytes() != before

    def test_output_on_top_of_the_source(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_bert_folder, tmp_path / "model"))
        with pytest.raises(InvalidInputError, match="is the source itself"):
            compress(folder, tmp_path / "other" / ".." / "model", force=True)

    def test_already_compressed(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        compress(tiny_bert_folder, tmp_path / "out")
        with pytest.raises(InvalidInputError, match="no linear layer matches"):
            compress(tmp_path / "out", tmp_path / "again")

    def test_missing_source(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match="is no folder"):
            compress(tmp_path / "nowhere", tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_missing_calibration(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match=r"calibration file .* does not exist"):
            compress(tiny_bert_folder, tmp_path / "out", calibration=tmp_path / "nowhere.txt")
        assert list(tmp_path.iterdir()) == []

    def test_unsupported_model_type(self, tiny_bert_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_bert_folder, tmp_path / "model"))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
        with pytest.raises(InvalidInputError, match="'roberta' are not supported; supported: bert"):
            compress(folder, tmp_path / "out")
