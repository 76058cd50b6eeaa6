"""Reference vectors of vertical data minimization, through the tree, the generalisation and the grouping."""

import numpy as np

from polyculture.privacy.columns import Column
from polyculture.privacy.generalisation import Generalisation, Groups, Intervals
from polyculture.privacy.iterative import optimal_k_split
from polyculture.privacy.tree import grow_tree


def _tree(inputs, params):
    X = np.array(inputs["X"], dtype=float)
    codes = {j: int(X[:, j].max()) for j in inputs.get("categorical_features", ())}
    X[:, list(codes)] -= 1  # the vectors' codes start at 1
    tree = grow_tree(X, np.array(inputs["y"]), np.array(inputs["s"]), categorical=codes, **params)
    return {
        "root_impurity": tree.root_impurity,
        "n_leaves": len(tree.leaf_sizes),
        "leaf_sizes": sorted(tree.leaf_sizes),
        "leaf_impurities": sorted(tree.leaf_impurities),
        "generalisation": {
            str(j): {"type": "disc", "mapping": tree.mapping(j, codes[j])}
            if j in codes
            else {"type": "cont", "borders": tree.borders(j)}
            for j in range(X.shape[1])
        },
    }


def _generalise(inputs, params):
    found = Generalisation(
        (
            Intervals(Column("a"), tuple(params["borders_a"])),
            Intervals(Column("b"), tuple(params["borders_b"])),
            Groups(Column("c", tuple(range(len(params["mapping_c"])))), tuple(params["mapping_c"])),
        )
    )
    buckets = found.buckets(
        np.column_stack([np.array(inputs["continuous"], dtype=float).reshape(-1, 2), inputs["category"]])
    )
    statistics = found.statistics(buckets)
    return {
        "z": found.one_hot(buckets),
        "ncp": {part.column.name: part.ncp() for part in found.parts},
        "gcp": statistics.gcp,
        "n_distinct": statistics.n_distinct,
        "used_fraction": statistics.used_fraction,
        "class_sizes": statistics.class_sizes,
    }


def _split(inputs, params):
    mapping, variance = optimal_k_split(np.array(inputs["coefficients"]), params["k"])
    return {"mapping": mapping, "mean_group_variance": variance}


OPS = {"pat_tree": _tree, "apply_generalisation": _generalise, "optimal_k_split": _split}
