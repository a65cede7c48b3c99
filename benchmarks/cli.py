"""`medusa bench`: measurements that print a table, or the one JSON object of the contract."""

from __future__ import annotations

import click


class _Benchmarks(click.Group):
    """Benchmarks by name, each imported when it runs: they need what only the development extra installs."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Their names."""
        return ["conversation", "features", "fusion", "transcription", "vad"]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them."""
        try:
            if cmd_name == "conversation":
                from benchmarks.conversation import main as conversation

                return conversation
            if cmd_name == "features":
                from benchmarks.features import main as features

                return features
            if cmd_name == "fusion":
                from benchmarks.fusion import main as fusion

                return fusion
            if cmd_name == "transcription":
                from benchmarks.transcription import main as transcription

                return transcription
            if cmd_name == "vad":
                from benchmarks.vad import main as vad

                return vad
        except ImportError as error:
            raise click.ClickException(
                f"{cmd_name} needs {error.name}: pip install 'medusa-live[dev]', or run make setup"
            ) from error
        return None


@click.command(cls=_Benchmarks, epilog="Example: medusa bench transcription --corpus ~/corpora/librispeech")
def bench() -> None:
    """Measure latency, the fused ensemble, transcription, voice detection and features."""
