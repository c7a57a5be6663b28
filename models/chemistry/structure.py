"""A SMILES as the one neutral molecule that is asked about; or why it is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds import MurckoScaffold

PLACE = "place"  #: the property in which an atom keeps its 0-based place in the SMILES as written
CARBON = 6
#: H B C N O F Si P S Cl Se Br I: what the training sets' organic molecules are made of
ELEMENTS = frozenset((1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53))


def _canonical(smiles: str) -> str:
    return str(Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False))


#: acids, bases and solvents that a drug is weighed out with, neutral, canonical
PARTNERS = frozenset(
    _canonical(s)
    for s in (
        "CC(=O)O", "OC=O", "OC(=O)C(=O)O", "OC(=O)C=CC(=O)O", "OC(=O)CCC(=O)O", "OC(=O)C(O)C(O)C(=O)O",
        "OC(=O)CC(O)(CC(=O)O)C(=O)O", "OC(=O)CC(O)C(=O)O", "CC(O)C(=O)O", "OC(=O)CC(=O)O", "OC(=O)C(F)(F)F",
        "CS(=O)(=O)O", "CCS(=O)(=O)O", "Cc1ccc(cc1)S(=O)(=O)O", "OS(=O)(=O)c1ccccc1", "OC(=O)c1ccccc1",
        "CO", "CCO", "CC(C)O", "CC(C)=O", "CC#N", "CS(C)=O", "CN(C)C=O", "ClCCl", "NCCO", "NC(CO)(CO)CO",
        "OC(=O)O", "S=C=N", "N#CS",
    )
)  # fmt: skip

Mol = Any  #: rdkit.Chem.Mol, whose stubs do not say its type


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The molecule that is asked about, and what was taken from it."""

    mol: Mol  #: neutral; each atom has the property PLACE
    atoms: int  #: of the SMILES as written, those of left-out fragments too
    others: tuple[str, ...]  #: canonical, neutral SMILES of the fragments left out

    @property
    def key(self) -> str:
        """Canonical SMILES without stereochemistry: equal structures have equal keys."""
        return str(Chem.MolToSmiles(self.mol, isomericSmiles=False))

    @property
    def mixture(self) -> bool:
        """Whether a fragment left out is another organic molecule rather than a salt's or a solvent's."""
        own = self.key
        return any(o != own and o not in PARTNERS and Chem.MolFromSmiles(o) is not None
                   and _carbons(Chem.MolFromSmiles(o)) for o in self.others)  # fmt: skip

    @property
    def foreign(self) -> list[str]:
        """Symbols of elements that the training sets hardly hold."""
        return sorted({a.GetSymbol() for a in self.mol.GetAtoms() if a.GetAtomicNum() not in ELEMENTS})


def _carbons(mol: Mol) -> int:
    return sum(atom.GetAtomicNum() == CARBON for atom in mol.GetAtoms())


def parse(smiles: str) -> Structure | None:
    """The largest organic fragment, its charges neutralised where protons can do it; None of no SMILES.

    The fragment with carbon and the most heavy atoms is taken. Stereochemistry is kept on the molecule.
    """
    with rdBase.BlockLogs():  # RDKit tells standard error what it was given
        mol = Chem.MolFromSmiles(smiles.strip())
        if mol is None or not mol.GetNumAtoms():
            return None
        for atom in mol.GetAtoms():
            atom.SetIntProp(PLACE, atom.GetIdx())
        fragments = list(Chem.GetMolFrags(mol, asMols=True))
        chosen = max(fragments, key=lambda f: (_carbons(f) > 0, f.GetNumHeavyAtoms()))
        neutral = rdMolStandardize.Uncharger()
        others = tuple(
            Chem.MolToSmiles(neutral.uncharge(f), isomericSmiles=False) for f in fragments if f is not chosen
        )
        return Structure(mol=neutral.uncharge(chosen), atoms=mol.GetNumAtoms(), others=others)


def scaffold(mol: Mol) -> str:
    """The Bemis-Murcko framework (rings and what links them) as SMILES; "" of a molecule without rings."""
    with rdBase.BlockLogs():
        return str(MurckoScaffold.MurckoScaffoldSmiles(mol=mol))  # type: ignore[no-untyped-call]
