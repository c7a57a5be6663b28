"""What speaks for an answer: its atoms, their fragments left out, and its properties, set to the usual."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.chemistry.features import Floats, Seen, without_each_atom
from models.chemistry.machine import Machine
from models.chemistry.structure import Mol

#: beginnings of descriptor names, by what they tell of; the first that fits counts
GROUPS: dict[str, tuple[str, ...]] = {
    "functional groups": ("fr_",),
    "lipophilicity and refractivity": ("MolLogP", "SlogP", "MolMR", "SMR"),
    "polar surface and hydrogen bonds": ("TPSA", "NumHD", "NumHA", "NHOH", "NOCount", "NumHetero"),
    "partial charges": ("Max", "Min", "PEOE"),
    "electrotopological states": ("EState", "VSA_EState"),
    "rings, bonds and flexibility": ("Num", "Ring", "Fraction"),
    "size and shape": ("",),
}
ELECTROTOPOLOGICAL = "EStateIndex"


def groups(names: tuple[str, ...]) -> dict[str, NDArray[np.intp]]:
    """Which descriptors belong to which group."""
    found: dict[str, list[int]] = {name: [] for name in GROUPS}
    for place, name in enumerate(names):
        if name.endswith(ELECTROTOPOLOGICAL):
            found["electrotopological states"].append(place)
            continue
        found[next(g for g, begins in GROUPS.items() if name.startswith(begins))].append(place)
    return {name: np.array(places, np.intp) for name, places in found.items() if places}


def variants(mol: Mol, machine: Machine) -> tuple[Seen, int, list[str]]:
    """The molecule, then without the fragments of each atom, then with each group of properties usual.

    Gives also the number of atoms and the groups' names, in order. Usual is the training set's mean.
    """
    atoms = without_each_atom(mol, machine.names)
    usual = machine.library.scale.usual
    named = groups(machine.names)
    rows = np.repeat(atoms.descriptors[:1], len(named), axis=0)
    for row, places in zip(rows, named.values(), strict=True):
        row[places] = usual[places]
    first = atoms.take(np.zeros(len(named), np.intp))
    return (
        atoms.joined(Seen(exact=first.exact, roles=first.roles, descriptors=rows)),
        len(atoms) - 1,
        list(named),
    )


def attributed(raw: Floats, atoms: int, names: list[str]) -> tuple[Floats, dict[str, float]]:
    """(atoms,) what each atom's fragments add to the answer, and the same of each group of properties.

    raw: of the variants, in their order. An amount is the answer less that without; the amounts overlap, and
    do not sum to the answer.
    """
    shares = raw[0] - raw[1:]
    return shares[:atoms], {n: float(v) for n, v in zip(names, shares[atoms:], strict=True)}
