"""The factoriser's files: D as (r, b1, b2) whatever its shape says, and layers of a dense model replaced."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import SIZES, Shape, blocks_multiplied, layer_name, write_dense, write_factors, write_published
from torch import Tensor

import blast_deploy as bd
from blast_deploy.checkpoints.factoriser import read_factors
from blast_deploy.errors import InvalidInputError

TOKENS = torch.tensor([[3, 7, 1, 9, 30], [4, 4, 8, 2, 11]])
SHAPES: dict[tuple[int, str], Shape] = {
    (0, "q_proj"): (4, 4, 4),
    (0, "down_proj"): (2, 4, 5),
    (1, "k_proj"): (4, 4, 4),
    (1, "up_proj"): (5, 3, 2),
}
"""In the first and the third the shape of D cannot tell how its axes lie."""


def weights(folder: Path) -> dict[tuple[int, str], Any]:
    """Write the layers and multiply them out by the published formula, D being (r, b1, b2)."""
    found = {}
    for seed, ((number, module), shape) in enumerate(SHAPES.items()):
        b, c, d = write_factors(folder, number, module, shape, seed=10 * seed)
        found[number, module] = blocks_multiplied(b, c, lambda i, j, d=d: d[:, i, j])
    return found


def test_layers_are_read_with_their_axes_as_the_factoriser_lays_them(tmp_path: Path) -> None:
    expected = weights(tmp_path)
    found = read_factors(tmp_path)
    assert list(found) == ["0.down_proj", "0.q_proj", "1.k_proj", "1.up_proj"]
    for (number, module), weight in expected.items():
        matrix = found[f"{number}.{module}"]
        assert (*matrix.blocks, matrix.rank) == SHAPES[number, module]
        assert matrix.u.dtype == np.float32
        np.testing.assert_allclose(matrix.dense(), weight, rtol=0, atol=1e-14)


def test_layers_come_by_number(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        write_factors(tmp_path, number, "q_proj", (4, 4, 4))
    assert list(read_factors(tmp_path)) == ["0.q_proj", "2.q_proj", "10.q_proj"]


@pytest.mark.parametrize("bias", [False, True])
def test_a_dense_model_takes_them(tmp_path: Path, bias: bool) -> None:
    original = write_dense(tmp_path / "dense", bias=bias)
    expected = weights(tmp_path / "factors")
    module = bd.load(tmp_path / "dense", factors=tmp_path / "factors")
    names = {layer_name(number, leaf) for number, leaf in SHAPES}
    assert {name for name, each in module.named_modules() if isinstance(each, bd.BlastLinear)} == names
    for (number, leaf), weight in expected.items():
        parameter = original.get_submodule(layer_name(number, leaf)).weight
        parameter.data = torch.from_numpy(weight).float()
    for name, tensor in original.state_dict().items():
        if name.removesuffix(".weight") not in names:
            assert torch.equal(module.state_dict()[name], tensor), name
    with torch.no_grad():
        hidden = [each.double()(input_ids=TOKENS).last_hidden_state for each in (module, original)]
    torch.testing.assert_close(*hidden, rtol=1e-4, atol=1e-5)
    assert not module.training


def test_the_result_is_saved_and_loaded_again(tmp_path: Path) -> None:
    write_dense(tmp_path / "dense")
    weights(tmp_path / "factors")
    module = bd.load(tmp_path / "dense", factors=tmp_path / "factors")
    again = bd.load(bd.save(module, tmp_path / "ours"))
    before, after = module.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(bd.inspect(tmp_path / "ours").layers) == len(SHAPES)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_a_narrower_model_keeps_small_factors(tmp_path: Path, dtype: torch.dtype, tolerance: float) -> None:
    write_dense(tmp_path / "dense", dtype=dtype)
    b, c, d = write_factors(tmp_path / "factors", 0, "q_proj", (4, 4, 4))
    place = tmp_path / "factors" / "0"
    # The factoriser starts at 0.001; float16 has no numbers below 6e-8 and few below 6e-5.
    torch.save(torch.from_numpy(b * 1e-5).float(), place / "q_proj-B.tensor")
    torch.save(torch.from_numpy(d * 1e5).float(), place / "q_proj-D.tensor")
    layer = bd.load(tmp_path / "dense", factors=tmp_path / "factors").layers[0].self_attn.q_proj
    assert layer.U.dtype == dtype
    weight = blocks_multiplied(b, c, lambda i, j: d[:, i, j])
    error = np.linalg.norm(layer.double().dense_weight().numpy() - weight) / np.linalg.norm(weight)
    assert error < tolerance


def test_zero_columns_stay_zero_in_a_narrower_model(tmp_path: Path) -> None:
    write_dense(tmp_path / "dense", dtype=torch.float16)
    b, _, _ = write_factors(tmp_path / "factors", 0, "q_proj", (4, 4, 4))
    torch.save(torch.from_numpy(b * 0).float(), tmp_path / "factors" / "0" / "q_proj-B.tensor")
    layer = bd.load(tmp_path / "dense", factors=tmp_path / "factors").layers[0].self_attn.q_proj
    assert torch.equal(layer.dense_weight(), torch.zeros(24, 24, dtype=torch.float16))


def test_a_wider_model_takes_them_exactly(tmp_path: Path) -> None:
    write_dense(tmp_path / "dense", dtype=torch.float64)
    b, _, d = write_factors(tmp_path / "factors", 0, "q_proj", (4, 4, 4))
    layer = bd.load(tmp_path / "dense", factors=tmp_path / "factors").layers[0].self_attn.q_proj
    assert np.array_equal(layer.U.detach().numpy(), b)
    assert np.array_equal(layer.S.detach().numpy(), d.transpose(1, 2, 0))


class TestRefusals:
    @pytest.fixture
    def factors(self, tmp_path: Path) -> Path:
        weights(tmp_path / "factors")
        return tmp_path / "factors"

    def change(self, factors: Path, factor: str, make: Any) -> Path:
        file = factors / "0" / f"down_proj-{factor}.tensor"
        torch.save(make(torch.load(file).detach()), file)
        return file

    def refusal(self, factors: Path) -> str:
        with pytest.raises(InvalidInputError) as caught:
            read_factors(factors)
        message = str(caught.value)
        assert str(factors) in message
        assert "\n" not in message
        return message

    @pytest.mark.parametrize("factor", ["B", "C", "D"])
    def test_a_missing_factor(self, factors: Path, factor: str) -> None:
        (factors / "0" / f"down_proj-{factor}.tensor").unlink()
        assert f"is there without its {factor}; copy" in self.refusal(factors)

    @pytest.mark.parametrize(
        "name", ["q_proj-E.tensor", "q_proj.tensor", "-B.tensor", "q_proj-b.tensor", "a\n-B.tensor"]
    )
    def test_a_strange_file(self, factors: Path, name: str) -> None:
        shutil.copy(factors / "0" / "q_proj-B.tensor", factors / "0" / name)
        assert f"{name!r} in {factors / '0'} is none of the factors" in self.refusal(factors)

    def test_nothing_there(self, tmp_path: Path) -> None:
        assert "is no folder" in self.refusal(tmp_path / "nowhere")
        write_factors(tmp_path / "out" / "comp0.5-nb4-ni300-delta0.1", 0, "q_proj", (4, 4, 4))
        assert "holds no file such as 0/q_proj-B.tensor" in self.refusal(tmp_path / "out")

    @pytest.mark.parametrize(
        ("factor", "make", "message"),
        [
            ("D", lambda d: d.permute(1, 2, 0).contiguous(), r"is \(2, 4, 5\) where"),
            ("B", lambda b: b[:, :, :-1].contiguous(), r"need"),
            ("C", lambda c: c[0], "a factor has three non-empty axes"),
            ("C", lambda c: c[:, :, :0], "a factor has three non-empty axes"),
            ("D", lambda d: d.half(), r"has torch\.float16 and down_proj-B\.tensor has torch\.float32"),
            ("D", lambda d: d.long(), r"has torch\.int64; float16"),
            ("B", lambda b: b.index_fill(0, torch.tensor([1]), torch.nan), "holds NaN or infinity"),
            ("B", lambda b: {"B": b}, "is no plain tensor"),
            ("B", lambda b: b.to_sparse(), "is no plain tensor"),
            ("D", lambda d: torch.ones(1).expand(2**40), "a factor has three non-empty axes"),
            ("D", lambda d: torch.ones(1, 1, 1).expand(5, 2**20, 2**20), "where down_proj-B"),
        ],
    )
    def test_factors_that_make_no_layer(self, factors: Path, factor: str, make: Any, message: str) -> None:
        import re

        self.change(factors, factor, make)
        assert re.search(message, self.refusal(factors))

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
    def test_a_truncated_file(self, factors: Path, share: float) -> None:
        file = factors / "1" / "k_proj-C.tensor"
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        assert f"{file} is damaged" in self.refusal(factors)

    def test_a_pickle_that_would_run_code(self, factors: Path, tmp_path: Path) -> None:
        class Payload:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "ran",)

        file = factors / "0" / "q_proj-D.tensor"
        file.write_bytes(pickle.dumps(Payload(), protocol=2))
        assert "could run code and is not read" in self.refusal(factors)
        assert not (tmp_path / "ran").exists()
        pickle.loads(file.read_bytes())
        assert (tmp_path / "ran").exists()

    def test_layers_that_the_model_lacks(self, factors: Path, tmp_path: Path, tiny_bert_folder: Path) -> None:
        write_dense(tmp_path / "dense")
        write_factors(factors, 2, "q_proj", (4, 4, 4))
        for folder in (tmp_path / "dense", tiny_bert_folder):
            with pytest.raises(InvalidInputError, match=r"the model has no dense linear layers of that name"):
                bd.load(folder, factors=factors)

    def test_a_model_that_is_structured_already(self, factors: Path, tmp_path: Path) -> None:
        published = write_published(tmp_path / "published")
        with pytest.raises(InvalidInputError, match="give the dense model that was factorised"):
            bd.load(published.folder, factors=factors)

    def test_sizes_of_another_model(self, tmp_path: Path) -> None:
        from blast_deploy.checkpoints.factoriser import insert_factors

        write_dense(tmp_path / "dense")
        module = bd.load(tmp_path / "dense")
        before = dict(module.named_modules())
        write_factors(tmp_path / "factors", 0, "q_proj", (4, 4, 4))
        shutil.copytree(tmp_path / "factors" / "0", tmp_path / "factors" / "1")
        for factor in "BCD":
            place = tmp_path / "factors" / "1"
            (place / f"q_proj-{factor}.tensor").rename(place / f"up_proj-{factor}.tensor")
        with pytest.raises(InvalidInputError, match=r"1\.up_proj in .* is 24 x 24 and .* is 40 x 24"):
            insert_factors(tmp_path / "factors", module)
        assert dict(module.named_modules()) == before
        assert SIZES["up_proj"] == (40, 24)

    def test_values_beyond_the_models_dtype(self, tmp_path: Path) -> None:
        write_dense(tmp_path / "dense", dtype=torch.float16)
        write_factors(tmp_path / "factors", 0, "q_proj", (4, 4, 4))
        file = tmp_path / "factors" / "0" / "q_proj-D.tensor"
        large: Tensor = torch.load(file).detach() * 1e6
        torch.save(large, file)
        with pytest.raises(InvalidInputError, match=r"values beyond torch\.float16, .* load a float32 model"):
            bd.load(tmp_path / "dense", factors=tmp_path / "factors")
