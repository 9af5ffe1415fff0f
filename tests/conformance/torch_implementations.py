"""The ways in which torch computes a BLAST layer; a new one is one entry of ``TORCH_IMPLEMENTATIONS``."""

from __future__ import annotations

import torch
from cases import Problem
from implementations import FLOATS, Array, Implementation

from blast_deploy.structures.blast.module import BlastLinear, blast_linear


def torch_operator(problem: Problem) -> Array:
    matrix = problem.matrix
    u, s, v = (torch.tensor(factor) for factor in (matrix.u, matrix.s, matrix.v))
    bias = torch.tensor(problem.bias) if problem.case.bias else None
    y = blast_linear(torch.tensor(problem.x), u, s, v, bias, matrix.in_features, matrix.out_features)
    result: Array = y.numpy()
    return result


def torch_module(problem: Problem) -> Array:
    layer = BlastLinear.from_matrix(problem.matrix, problem.bias if problem.case.bias else None)
    result: Array = layer(torch.tensor(problem.x)).detach().numpy()
    return result


TORCH_IMPLEMENTATIONS = (
    Implementation("torch-operator", torch_operator, FLOATS),
    Implementation("torch-module", torch_module, FLOATS),
)
