"""A model file knows its external data, and says when it has changed."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
from portable_models import LayerSizes, chain, random_layers

from blast_deploy import reference
from blast_deploy.errors import InvalidInputError
from blast_deploy.model_paths import data_path
from blast_deploy.passes.load import load_model
from blast_deploy.passes.save import save_mapped
from blast_deploy.passes.seal import break_seal, seal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    saved = tmp_path / "model.onnx"
    save_mapped(ir.from_proto(chain(random_layers([LayerSizes(64, 64, (2, 2), 32)]))), saved)
    return saved


def test_the_seal_holds_the_datas_hash_and_leaves_no_trace_when_broken(path: Path) -> None:
    data = reference.sha256(data_path(path))
    seal(path)
    model = load_model(path)
    assert dict(model.metadata_props) == {"blast_deploy.sha256:model.onnx.data": data}
    assert reference.sha256(data_path(path)) == data
    break_seal(model, path)
    assert not model.metadata_props


def test_any_changed_byte_is_told(path: Path) -> None:
    seal(path)
    content = bytearray(data_path(path).read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        content[place] ^= 1
        data_path(path).write_bytes(content)
        with pytest.raises(InvalidInputError, match=r"model\.onnx\.data was changed after export"):
            break_seal(load_model(path), path)
        content[place] ^= 1


def test_a_file_of_another_tool_has_no_seal_to_break(path: Path) -> None:
    data_path(path).write_bytes(bytes(data_path(path).stat().st_size))
    break_seal(load_model(path), path)


def test_a_model_without_external_data_needs_none(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    ir.save(ir.from_proto(chain(random_layers())), path)
    seal(path)
    assert not load_model(path).metadata_props
