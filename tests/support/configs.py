"""Descriptions of checkpoints that tests change."""

import json

from fastblackout.training.checkpoint import digest_of


def rewrite_config(file, head):
    """Writes a config.json with the right digest of itself, as who makes a run can."""
    file.write_text(json.dumps({**head, "files": {**head["files"], "config.json": digest_of(head)}}))
