"""What a machine sees of a molecule: circular fragments, each with its atoms, and descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase
from rdkit.Chem import Descriptors, rdFingerprintGenerator
from scipy.sparse import csr_matrix, vstack

from models.chemistry.structure import Mol

COLUMNS = 65_536  #: of a fragment table; so many that two fragments hardly ever share one
MOST_COPIES = 15  #: of one fragment that are told apart
CLIP, STEP = 5.0, 1 / 25  #: standardised descriptors are cut at the one and rounded to the other
#: slow to compute, or measured (on solubility) to add nothing
LEFT_OUT = ("Ipc", "AvgIpc", "qed", "SPS", "BCUT2D")

Floats = NDArray[np.float64]
Table = Any  #: csr_matrix (n, COLUMNS) of 0 and 1: the k-th copy of a fragment has a column of its own


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """Circular fragments of one molecule (Rogers and Hahn 2010), one row for each place they occur at."""

    hashes: NDArray[np.int64]  #: (places,) which fragment
    atoms: NDArray[np.bool_]  #: (places, atoms) which atoms it is made of

    def columns(self, without: int | None = None) -> NDArray[np.int64]:
        """Columns of a fragment table that are set; without: an atom whose fragments do not count."""
        kept = self.hashes if without is None else self.hashes[~self.atoms[:, without]]
        found, counts = np.unique(kept, return_counts=True)
        counts = np.minimum(counts, MOST_COPIES)
        copies = np.concatenate([np.arange(c) for c in counts]) if len(counts) else np.zeros(0, np.int64)
        return column(np.repeat(found, counts), copies)


def column(hashes: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sorted, distinct columns of such copies of fragments (Knuth's multiplicative hash)."""
    mixed = (hashes.astype(np.uint64) + copies.astype(np.uint64) * np.uint64(40_503)) * np.uint64(
        2_654_435_761
    )
    return np.unique((mixed >> np.uint64(11)) % np.uint64(COLUMNS)).astype(np.int64)


@cache
def _generators() -> tuple[Any, Any]:
    """ECFP6 (what atoms are) and FCFP4 (what they do: donor, acceptor, acid, base, aromatic, halogen)."""
    roles = rdFingerprintGenerator.GetMorganFeatureAtomInvGen()
    return (
        rdFingerprintGenerator.GetMorganGenerator(radius=3),
        rdFingerprintGenerator.GetMorganGenerator(radius=2, atomInvariantsGenerator=roles),
    )


def fragments(mol: Mol) -> tuple[Fragments, Fragments]:
    """The molecule's ECFP6 and FCFP4 fragments."""
    return _fragments(mol, _generators()[0]), _fragments(mol, _generators()[1])


def _fragments(mol: Mol, generator: Any) -> Fragments:
    extra = rdFingerprintGenerator.AdditionalOutput()
    extra.AllocateBitInfoMap()
    generator.GetSparseCountFingerprint(mol, additionalOutput=extra)
    distance = _distances(mol)
    places = [(h, atom, radius) for h, found in extra.GetBitInfoMap().items() for atom, radius in found]
    atoms = [distance[atom] <= radius for _, atom, radius in places]
    return Fragments(
        hashes=np.array([h for h, _, _ in places], np.int64),
        atoms=np.array(atoms, bool).reshape(len(places), mol.GetNumAtoms()),
    )


def _distances(mol: Mol) -> Floats:
    """(atoms, atoms) bonds between them."""
    from rdkit import Chem

    return np.asarray(Chem.GetDistanceMatrix(mol, force=True))


def table(rows: Sequence[NDArray[Any]]) -> Table:
    """A fragment table of the rows' columns."""
    ends = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    indices = np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)
    return csr_matrix((np.ones(len(indices), np.float32), indices, ends), shape=(len(rows), COLUMNS))


@cache
def descriptor_names() -> tuple[str, ...]:
    """The names of the descriptors that this RDKit offers, without those left out."""
    return tuple(name for name, _ in Descriptors._descList if not name.startswith(LEFT_OUT))


def descriptors(mol: Mol, names: Sequence[str]) -> Floats:
    """(names,) the values; NaN where RDKit has none. Raises KeyError of a name that RDKit does not know."""
    known = dict(Descriptors._descList)
    with rdBase.BlockLogs():
        return np.array([float(known[name](mol)) for name in names])


def squeezed(values: Floats) -> Floats:
    """Values with their long tails drawn in: the logarithm of one and the size, with its sign; 0 of NaN."""
    finite = np.nan_to_num(values, nan=0.0, posinf=1e6, neginf=-1e6)
    return np.asarray(np.sign(finite) * np.log1p(np.abs(finite)))


def stretched(values: Floats) -> Floats:
    """The inverse of `squeezed`."""
    return np.asarray(np.sign(values) * np.expm1(np.abs(values)))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Molecules as a machine sees them."""

    exact: Table  #: ECFP6
    roles: Table  #: FCFP4
    descriptors: Floats  #: (n, descriptors), as RDKit gives them

    def take(self, rows: NDArray[np.intp]) -> Seen:
        """Some of the molecules."""
        return Seen(exact=self.exact[rows], roles=self.roles[rows], descriptors=self.descriptors[rows])

    def joined(self, others: Seen) -> Seen:
        """These molecules and then the others."""
        return Seen(
            exact=vstack([self.exact, others.exact], "csr"),
            roles=vstack([self.roles, others.roles], "csr"),
            descriptors=np.concatenate([self.descriptors, others.descriptors]),
        )

    def __len__(self) -> int:
        return len(self.descriptors)


def seen(mols: Sequence[Mol], names: Sequence[str]) -> Seen:
    """The molecules' fragments and descriptors."""
    found = [fragments(mol) for mol in mols]
    return Seen(
        exact=table([exact.columns() for exact, _ in found]),
        roles=table([roles.columns() for _, roles in found]),
        descriptors=np.array([descriptors(mol, names) for mol in mols]).reshape(len(mols), len(names)),
    )


def without_each_atom(mol: Mol, names: Sequence[str]) -> Seen:
    """The molecule, and then the molecule without the fragments of each of its atoms, in their order.

    The descriptors stay those of the whole molecule.
    """
    exact, roles = fragments(mol)
    rows: list[int | None] = [None, *range(mol.GetNumAtoms())]
    return Seen(
        exact=table([exact.columns(row) for row in rows]),
        roles=table([roles.columns(row) for row in rows]),
        descriptors=np.repeat(descriptors(mol, names)[None], len(rows), axis=0),
    )
