"""Decision trees, forests and boosted trees: a whole ensemble in a handful of flat arrays.

Nodes stand tree after tree in preorder (a node, its left branch, its right branch), so one bit a node,
"is a leaf", is the whole shape: the right child of a node follows the last leaf of its left branch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.estimators.predictor import Arrays, Facts, Floats, Predictor

CHUNK = 1_000_000  #: row-tree pairs walked at once, to bound the memory


def shape(leaf: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(roots, right): the first node of each tree, and each inner node's right child (0 of a leaf)."""
    right = np.zeros(len(leaf), dtype=np.int32)
    roots, open_nodes = [], []
    begins = True
    for node, ends in enumerate(leaf.tolist()):
        if begins:
            roots.append(node)
        if not ends:
            open_nodes.append(node)
        elif open_nodes:
            right[open_nodes.pop()] = node + 1
            begins = False
            continue
        begins = ends
    return np.array(roots, dtype=np.int32), right


class Trees(Predictor):
    """Sums of leaves, times a scale, plus a baseline.

    arrays: `leaf` packed bits; `feature`, `threshold`, `missing_left` (packed bits) of the inner nodes;
    `value` (leaves, values a leaf); `baseline` (outputs,). A leaf of a forest holds every output;
    trees of a boosted classifier hold one and take turns.
    """

    missing = True

    def __init__(self, facts: Facts, arrays: Arrays) -> None:
        super().__init__(facts)
        nodes = facts["nodes"]
        self.leaf = np.unpackbits(arrays["leaf"], count=nodes).astype(bool)
        self.roots, self.right = shape(self.leaf)
        inner = ~self.leaf
        self.feature = np.zeros(nodes, dtype=np.int32)
        self.feature[inner] = arrays["feature"]
        self.threshold = np.full(nodes, np.inf)
        self.threshold[inner] = arrays["threshold"]
        self.missing_left = np.zeros(nodes, dtype=bool)
        count = int(inner.sum())
        self.missing_left[inner] = np.unpackbits(arrays["missing_left"], count=count).astype(bool)
        self.place = np.cumsum(self.leaf) - 1  #: of a leaf: its row of `value`
        self.value = arrays["value"].astype(np.float64)
        self.baseline = arrays["baseline"].astype(np.float64)

    def leaves(self, x: Floats) -> NDArray[np.intp]:
        """(n, trees) rows of `value` that the rows of x fall into."""
        at = np.tile(self.roots, len(x))
        moving = np.flatnonzero(~self.leaf[at])  # those that have come to a leaf are left behind
        while len(moving):
            node = at[moving]
            value = x[moving // len(self.roots), self.feature[node]]
            left = (value <= self.threshold[node]) | (np.isnan(value) & self.missing_left[node])
            at[moving] = node = np.where(left, node + 1, self.right[node])
            moving = moving[~self.leaf[node]]
        return np.asarray(self.place[at].reshape(len(x), -1))

    def raw(self, x: ArrayLike) -> Floats:
        """(n, outputs) scores; of a forest its mean."""
        table = self._table(x)
        if self.facts["single"]:  # these trees were grown on float32
            table = table.astype(np.float32).astype(np.float64)
        step = max(1, CHUNK // len(self.roots)) if len(self.roots) else len(table)
        parts = [self._sum(table[i : i + step]) for i in range(0, len(table), step)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.baseline)))

    def _sum(self, x: Floats) -> Floats:
        outputs = len(self.baseline)
        if not len(self.roots):
            return np.repeat(self.baseline[None, :], len(x), axis=0)
        values = self.value[self.leaves(x)].reshape(len(x), -1, self.facts["columns"])
        total = values.sum(1)
        if self.facts["columns"] < outputs:  # two classes: the second is what the first leaves
            total = np.concatenate([total, len(self.roots) - total], axis=1)
        return np.asarray(self.baseline + self.facts["scale"] * total)
