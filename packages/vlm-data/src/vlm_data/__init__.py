"""What is on disk: images, class names, prompts, captions and evidence, and the tables that runs write."""

from vlm_data.benchmarks import benchmark_info as benchmark_info
from vlm_data.benchmarks import benchmark_names as benchmark_names
from vlm_data.benchmarks import load_benchmark as load_benchmark
