"""`vlm spurious`: plant a shortcut into data, discover what a model has learnt instead, judge both."""

from vlm_cli.commands.spurious.group import command as command
