"""Clustering of regions: processor time and peak memory at 5k, 20k, 200k and 1M, each in a process of its own."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
from sklearn.metrics import adjusted_rand_score

from vlm_explain.discovery.clustering import candidate_counts, cluster

WIDTH, CLASSES, GROUPS, CANDIDATES = 512, 10, 40, 8
SIZES = {
    5_000: ("alternate", "swap", "spherical-k-means", "mini-batch", "clara"),
    20_000: ("alternate", "swap", "spherical-k-means", "mini-batch", "clara"),
    200_000: ("spherical-k-means", "mini-batch", "clara"),
    1_000_000: ("spherical-k-means", "mini-batch", "clara"),
}
MOST_GB = 8.0


def planted_groups(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows around 40 random directions at an angle of about 55 degrees, and the direction of each."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(GROUPS, WIDTH)).astype(np.float32)
    truth = rng.integers(0, GROUPS, count)
    embeddings = np.empty((count, WIDTH), dtype=np.float32)
    for first in range(0, count, 10_000):
        rows = embeddings[first : first + 10_000]
        rng.standard_normal(rows.shape, dtype=np.float32, out=rows)
        rows *= 1.5
        rows += directions[truth[first : first + 10_000]]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return embeddings, truth


def peak_gb() -> float:
    """The most memory this process has held so far, in GB; macOS counts bytes, Linux KiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure(count: int, method: str) -> dict[str, float | bool]:
    embeddings, truth = planted_groups(count)
    before, start = peak_gb(), time.process_time()
    choice = cluster(embeddings, candidates=candidate_counts(CLASSES, most=CANDIDATES), method=method)
    return {
        "seconds": time.process_time() - start,
        "before": before,
        "peak": peak_gb(),
        "clusters": choice.count,
        "silhouette": choice.score,
        "agreement": adjusted_rand_score(truth, choice.clustering.labels),
    }


def in_own_process(count: int, method: str) -> dict[str, float]:
    """Peak memory never falls, so every line of the table has a process; one thread, so that processor time is time."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    call = [sys.executable, __file__, "--sizes", str(count), "--only", method]
    done = subprocess.run(call, env={**os.environ, **threads}, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def show(sizes: list[int]) -> None:
    print(
        f"clustering of regions x {WIDTH}, {GROUPS} planted groups, the best of {CANDIDATES} candidates from 20 to 49"
    )
    print(
        f"{'regions':>9} {'method':18} {'processor s':>11} {'before, GB':>10} {'peak, GB':>9} "
        "clusters silhouette agreement"
    )
    for count in sizes:
        for method in SIZES[count]:
            row = in_own_process(count, method)
            print(
                f"{count:>9} {method:18} {row['seconds']:>11.1f} {row['before']:>10.2f} {row['peak']:>9.2f} "
                f"{row['clusters']:>8} {row['silhouette']:>10.4f} {row['agreement']:>9.3f}",
                flush=True,
            )
            assert row["peak"] < MOST_GB, f"{method} took {row['peak']:.1f} GB of memory for {count} regions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", choices=list(SIZES), default=list(SIZES), help="regions")
    parser.add_argument("--only", help="measure this method in this process, and print JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.sizes[0], options.only)))
    else:
        show(options.sizes)


if __name__ == "__main__":
    main()
