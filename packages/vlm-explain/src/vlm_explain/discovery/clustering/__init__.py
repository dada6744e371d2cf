"""Groups of regions that look alike: clustering unit vectors by the cosine, and choosing how many clusters."""

from vlm_explain.discovery.clustering.assignment import Clustering as Clustering
from vlm_explain.discovery.clustering.candidates import candidate_counts as candidate_counts
from vlm_explain.discovery.clustering.choice import METHODS as METHODS
from vlm_explain.discovery.clustering.choice import ClusterChoice as ClusterChoice
from vlm_explain.discovery.clustering.choice import cluster as cluster
