"""What a proof of an import says."""

import pytest

from vpopsql.proof import Proof

ON_SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


def files(proof: Proof) -> dict[str, int]:
    return {kind.value: number for kind, number in proof.files.items() if number}


def accusations(proof: Proof) -> list[str]:
    return [f"{each.place}: {each.reason}" for each in proof.unexplained]


OTHERWISE = "the export would write something else than the source has"
NOT = "not as in the source"
