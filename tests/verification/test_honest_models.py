"""None of fifty models that are right fails, in any form that takes its dtype."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from honest_models import DTYPES, HonestModel, draw, write
from planting import FORMS
from portable_models import forcing

import blast_deploy as bd

SEEDS = 50


def check(model: HonestModel, folder: Path, form: str) -> None:
    artifact = folder / form
    compiled = bd.compile(write(model, folder), forcing(form), artifact)
    result = bd.verify(artifact, layers=True)
    assert result.verdict == "passed", (model.description, result.reasons)
    assert len(result.layers) == len(model.layers)
    assert len(result.kernels) == len(model.layers)
    planned = {layer.form for layer in compiled.plan.layers}
    # A form that the dtype is not offered in is planned as another, so that it would be judged twice.
    refused = any(each.form == form for layer in compiled.plan.layers for each in layer.rejected)
    assert planned == {form} or refused


@pytest.mark.parametrize("seed", range(SEEDS))
def test_an_honest_model_passes(tmp_path: Path, seed: int) -> None:
    dtype = DTYPES[seed % len(DTYPES)]
    model = draw(seed, dtype)
    check(model, tmp_path, FORMS[seed // len(DTYPES) % len(FORMS)])


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(1000, 1000 + SEEDS))
def test_an_honest_model_passes_in_every_form(tmp_path: Path, seed: int, dtype: str, form: str) -> None:
    check(draw(seed, dtype), tmp_path, form)


def test_the_models_are_as_various_as_they_claim() -> None:
    models = [draw(seed, DTYPES[seed % len(DTYPES)]) for seed in range(SEEDS)]
    sizes = [layer.matrix for model in models for layer in model.layers]
    assert {len(model.layers) for model in models} == {1, 2, 3, 4}
    assert any(matrix.blocks[0] != matrix.blocks[1] for matrix in sizes)
    assert min(matrix.out_features for matrix in sizes) == 1
    assert max(matrix.out_features for matrix in sizes) > 300
    rows = [x.shape[0] * x.shape[1] for model in models for x in model.samples]
    assert min(rows) < 5
    assert max(rows) > 100
    largest = [float(np.abs(matrix.u).max() * np.abs(matrix.v).max()) for matrix in sizes]
    assert max(largest) / min(largest) > 1e3
