import re
from pathlib import Path

README = Path(__file__).parents[2] / "packages" / "vlm-eval" / "README.md"


def test_the_example_runs_and_shows_what_it_says(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], str(README), "exec"), {})
    before, after = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines())
    assert before > 0.2 and after < 0.04
