"""What a discovery found, with everything that is needed to find it again in other images."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlm_data.errors import VlmDataError
from vlm_data.files import replacing_folder, write_text
from vlm_data.tables import Regions
from vlm_explain.discovery.finding import Finding
from vlm_explain.discovery.options import DiscoveryOptions

DOCUMENT, REGIONS, CLUSTERS = "discovery.json", "regions.parquet", "clusters.parquet"
_SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Discovery:
    """Clusters of regions, those that are spurious features first.

    Attributes:
        clusters: all, those that passed everything first, by rank; then by score.
        reason: why nothing was found; empty if something was.
        notes: what a reader should know beside it.
        class_names: of the classes.
        images: number of labelled images.
        regions: of these images, with the id of their cluster, and `spurious` where that is the top cluster; without
            embeddings, which are large, and with logits only where the regions have labels of their own.
        medoids: the region that stands for each cluster, with its embedding.
        options: of the discovery.
        clustering: how many clusters were tried with which silhouette, by which method.

    Example:
        >>> import numpy as np
        >>> nothing = Regions((), np.zeros((0, 4)))
        >>> Discovery((), "no cluster passes", (), ("zero", "one"), 0, nothing, nothing, DiscoveryOptions(), {}).found
        False
    """

    clusters: tuple[Finding, ...]
    reason: str
    notes: tuple[str, ...]
    class_names: tuple[str, ...]
    images: int
    regions: Regions
    medoids: Regions
    options: DiscoveryOptions
    clustering: Mapping[str, Any]

    @property
    def ranked(self) -> tuple[Finding, ...]:
        """The clusters that passed everything, best first."""
        return tuple(one for one in self.clusters if one.rank is not None)

    @property
    def found(self) -> bool:
        """Whether a spurious feature was found."""
        return bool(self.ranked)

    @property
    def top(self) -> Finding | None:
        """The best cluster, or None: nothing found."""
        return self.ranked[0] if self.found else None

    def document(self) -> dict[str, Any]:
        """Return all statistics as plain values."""
        return {
            "schema_version": _SCHEMA_VERSION,
            "found": self.found,
            "reason": self.reason,
            "notes": list(self.notes),
            "class_names": list(self.class_names),
            "images": self.images,
            "regions": len(self.regions),
            "options": self.options.document(),
            "clustering": dict(self.clustering),
            "clusters": [one.document() for one in self.clusters],
        }

    def save(self, folder: str | os.PathLike[str]) -> "Discovery":
        """Write discovery.json, regions.parquet and clusters.parquet into a folder and return the discovery.

        All three appear in one step; other files in the folder stay.
        """
        with replacing_folder(folder, keep_others=True) as target:
            self.regions.save(target / REGIONS)
            self.medoids.save(target / CLUSTERS)
            write_text(target / DOCUMENT, json.dumps(self.document(), indent=1, allow_nan=False) + "\n")
        return self

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Discovery":
        """Read what `save` wrote.

        Raises:
            VlmDataError: if a file is missing or damaged.
        """
        path = Path(folder) / DOCUMENT
        try:
            values = json.loads(path.read_text("utf-8"))
            if values["schema_version"] != _SCHEMA_VERSION:
                raise ValueError(f"schema version {values['schema_version']}, this version reads {_SCHEMA_VERSION}")
            found = tuple(Finding.of_document(one) for one in values["clusters"])
            options = DiscoveryOptions.of_document(values["options"])
            told = values["reason"], tuple(values["notes"]), tuple(values["class_names"]), values["images"]
            clustering = values["clustering"]
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise VlmDataError(
                f"cannot read a discovery from {path}: {error}. Expected the folder that `vlm spurious discover` "
                "wrote; make it again."
            ) from error
        regions, medoids = Regions.load(path.with_name(REGIONS)), Regions.load(path.with_name(CLUSTERS))
        return cls(found, *told, regions, medoids, options, clustering)
