"""A molecule drawn as SVG, its atoms coloured by what they add."""

from __future__ import annotations

from collections.abc import Sequence

from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D

SIZE = (560, 380)
MORE, LESS = (0.753, 0.224, 0.169), (0.122, 0.498, 0.722)  #: as models.drawing's bars
RADIUS = 0.38  #: of a full highlight, in the drawing's units


def colour(share: float, most: float) -> tuple[float, float, float]:
    """White at nothing, full red or blue at the most."""
    strength = min(1.0, abs(share) / most) if most else 0.0
    full = MORE if share > 0 else LESS
    return (1 - strength * (1 - full[0]), 1 - strength * (1 - full[1]), 1 - strength * (1 - full[2]))


def picture(smiles: str, shares: Sequence[float | None]) -> str:
    """An SVG on white. shares: by the atoms' places in the SMILES; None of atoms that were left out."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        most = max((abs(share) for share in shares if share is not None), default=0.0)
        coloured = {i: colour(share, most) for i, share in enumerate(shares) if share is not None}
        drawer = rdMolDraw2D.MolDraw2DSVG(*SIZE)
        options = drawer.drawOptions()
        options.setHighlightColour((0.9, 0.9, 0.9))
        rdMolDraw2D.PrepareAndDrawMolecule(
            drawer,
            mol,
            highlightAtoms=list(coloured),
            highlightAtomColors=coloured,
            highlightAtomRadii=dict.fromkeys(coloured, RADIUS),
            highlightBonds=[],
        )
        drawer.FinishDrawing()
        return str(drawer.GetDrawingText()).partition("?>")[2].strip()
