"""Which molecules are not answered about, and why."""

from __future__ import annotations

from models.chemistry.recipe import Gate
from models.chemistry.structure import CARBON, Structure

MOST_MOLECULES = 1_000  #: of one file
Refusal = tuple[str, str]  #: code and sentence

UNREADABLE: Refusal = ("unreadable", "RDKit can make no molecule of the SMILES")


def refusal(structure: Structure | None, gate: Gate) -> Refusal | None:
    """Why the structure is outside of what is answered about; None of one inside."""
    if structure is None:
        return UNREADABLE
    atoms = structure.mol.GetNumHeavyAtoms()
    carbons = sum(a.GetAtomicNum() == CARBON for a in structure.mol.GetAtoms())
    foreign = ", ".join(structure.foreign)
    most, fewest = gate.most_atoms, gate.fewest_atoms
    asked: tuple[tuple[bool, Refusal], ...] = (
        (not carbons, ("inorganic", "there is no carbon in it")),
        (structure.mixture, ("mixture", "there is more than one organic molecule in it")),
        (bool(foreign), ("element", f"it holds {foreign}, which the model has not learnt of")),
        (atoms > most, ("too-large", f"{atoms} heavy atoms; up to {most} are answered about")),
        (atoms < fewest, ("too-small", f"{atoms} heavy atoms; {fewest} or more are answered about")),
    )
    return next((refused for applies, refused in asked if applies), None)


def unlike(likeness: float, gate: Gate) -> Refusal | None:
    """The refusal of a molecule that resembles none of the training set."""
    if likeness >= gate.similarity:
        return None
    return "unlike", (
        f"the likest molecule learnt from has a similarity of {likeness:.2f}; "
        f"{gate.similarity:.2f} or more is answered about"
    )
