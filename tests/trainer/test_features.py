from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backbones.registry import BACKBONES, LocalCheckpoint
from models.errors import WeightsError
from models.weights import WeightsSettings
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS
from tests.fakes.checkpoints import tiny_checkpoint
from trainer.errors import FeatureStoreError
from trainer.feature_policy import POLICY_FILE, StoreSpec, store_spec
from trainer.features import FeatureStore
from trainer.shards import SHARD_BYTES
from trainer.silence import LEAD_S, TAIL_S, TRIM_VERSION

DIM = 3
FRAME_BYTES = DIM * 2
SPEC = StoreSpec(backbone="made-up", dim=DIM)
FRAMES_FILE, INDEX_FILE = "shard-00000.f16", "shard-00000.jsonl"
SECOND_FRAMES, SECOND_INDEX = "shard-00001.f16", "shard-00001.jsonl"
SMALL_SHARD = 4 * FRAME_BYTES
"""A bound that makes shards of at most four frames."""


def frames(count: int, value: float = 1.0) -> np.ndarray:
    return np.full((count, DIM), value, dtype=np.float32)


def filled(folder: Path, lengths: list[int], shard_bytes: int = SHARD_BYTES) -> Path:
    with FeatureStore.open(folder, SPEC, shard_bytes=shard_bytes) as store:
        for i, length in enumerate(lengths):
            store.append(f"c/{i}", frames(length, float(i)))
    return folder


class TestReadingAndWriting:
    def test_what_was_stored_is_read_by_id(self, tmp_path: Path) -> None:
        store = FeatureStore.open(filled(tmp_path / "s", [2, 5, 1]), SPEC)
        assert list(store) == ["c/0", "c/1", "c/2"]
        assert (len(store), store.frames, store.size_bytes) == (3, 8, 8 * DIM * 2)
        np.testing.assert_array_equal(store.get("c/1"), frames(5, 1.0))
        assert store.get("c/1").dtype == np.float16
        assert store.frames_of("c/1") == 5
        assert store.frames_of("c/9") == 0

    def test_an_item_can_be_read_as_soon_as_it_is_stored(self, tmp_path: Path) -> None:
        with FeatureStore.open(tmp_path / "s", SPEC) as store:
            for i in range(3):
                store.append(f"c/{i}", frames(2, float(i)))
                np.testing.assert_array_equal(store.get(f"c/{i}"), frames(2, float(i)))

    def test_what_is_read_is_a_read_only_view_of_the_file(self, tmp_path: Path) -> None:
        store = FeatureStore.open(filled(tmp_path / "s", [2]), SPEC)
        with pytest.raises(ValueError, match="read-only"):
            store.get("c/0")[0, 0] = 7

    def test_a_store_that_does_not_exist_is_empty_and_stays_unmade_until_something_is_stored(
        self, tmp_path: Path
    ) -> None:
        store = FeatureStore.open(tmp_path / "s", SPEC)
        assert len(store) == 0
        assert not store.has("c/0")
        assert not (tmp_path / "s").exists()

    def test_asking_for_what_is_not_stored_says_how_to_get_it(self, tmp_path: Path) -> None:
        with pytest.raises(FeatureStoreError, match="no features of c/0; run medusa features extract"):
            FeatureStore.open(tmp_path / "s", SPEC).get("c/0")

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            (np.zeros((2, DIM + 1)), "expected"),
            (np.zeros(DIM), "expected"),
            (np.zeros((0, DIM)), "expected"),
            (np.full((1, DIM), np.nan), "not finite"),
            (np.full((1, DIM), 1e6), "not finite in half precision"),
        ],
    )
    def test_what_cannot_be_stored_is_refused_and_leaves_no_trace(
        self, tmp_path: Path, features: np.ndarray, message: str
    ) -> None:
        with FeatureStore.open(tmp_path / "s", SPEC) as store:
            store.append("c/0", frames(1))
            with pytest.raises(FeatureStoreError, match=message):
                store.append("c/1", features)
            store.append("c/2", frames(2, 2.0))
        reopened = FeatureStore.open(tmp_path / "s", SPEC)
        assert list(reopened) == ["c/0", "c/2"]
        np.testing.assert_array_equal(reopened.get("c/2"), frames(2, 2.0))

    def test_an_id_can_be_stored_once(self, tmp_path: Path) -> None:
        with FeatureStore.open(tmp_path / "s", SPEC) as store:
            store.append("c/0", frames(1))
            with pytest.raises(FeatureStoreError, match="stored already"):
                store.append("c/0", frames(1))


class TestShards:
    def test_a_shard_that_is_full_is_followed_by_another(self, tmp_path: Path) -> None:
        folder = filled(tmp_path / "s", [2, 2, 3, 1, 2], SMALL_SHARD)
        store = FeatureStore.open(folder, SPEC)
        assert (len(store), store.frames, store.shards) == (5, 10, 3)
        assert [store.shard_of(f"c/{i}") for i in range(5)] == [FRAMES_FILE] * 2 + [SECOND_FRAMES] * 2 + [
            "shard-00002.f16"
        ]
        assert max(path.stat().st_size for path in folder.glob("*.f16")) == SMALL_SHARD
        for i, length in enumerate([2, 2, 3, 1, 2]):
            np.testing.assert_array_equal(store.get(f"c/{i}"), frames(length, float(i)))

    def test_an_utterance_larger_than_a_shard_has_one_of_its_own(self, tmp_path: Path) -> None:
        store = FeatureStore.open(filled(tmp_path / "s", [1, 9, 1], SMALL_SHARD), SPEC)
        assert [store.shard_of(f"c/{i}") for i in range(3)] == [FRAMES_FILE, SECOND_FRAMES, FRAMES_FILE]
        np.testing.assert_array_equal(store.get("c/1"), frames(9, 1.0))

    def test_several_write_at_the_same_time_each_to_a_shard_of_its_own(self, tmp_path: Path) -> None:
        writers = [FeatureStore.open(tmp_path / "s", SPEC) for _ in range(3)]
        for turn in range(4):
            for number, writer in enumerate(writers):
                writer.append(f"c/{number}-{turn}", frames(1 + number, float(turn)))
        for writer in writers:
            writer.close()
        store = FeatureStore.open(tmp_path / "s", SPEC)
        assert (len(store), store.shards, store.duplicates) == (12, 3, {})
        for number in range(3):
            assert {store.shard_of(f"c/{number}-{turn}") for turn in range(4)} == {f"shard-{number:05}.f16"}
            np.testing.assert_array_equal(store.get(f"c/{number}-3"), frames(1 + number, 3.0))

    def test_a_shard_nobody_writes_to_any_more_is_taken_up_again(self, tmp_path: Path) -> None:
        filled(tmp_path / "s", [2])
        with FeatureStore.open(tmp_path / "s", SPEC) as store:
            store.append("c/1", frames(1, 1.0))
        assert FeatureStore.open(tmp_path / "s", SPEC).shards == 1

    def test_a_writer_takes_in_what_another_wrote_since_it_opened(self, tmp_path: Path) -> None:
        early = FeatureStore.open(tmp_path / "s", SPEC)
        filled(tmp_path / "s", [2, 3])
        with early:
            with pytest.raises(FeatureStoreError, match="c/1 is stored already"):
                early.append("c/1", frames(3, 1.0))
            early.append("c/late", frames(1, 9.0))
        assert list(early) == ["c/0", "c/1", "c/late"]
        reopened = FeatureStore.open(tmp_path / "s", SPEC)
        assert list(reopened) == ["c/0", "c/1", "c/late"]
        np.testing.assert_array_equal(reopened.get("c/late"), frames(1, 9.0))

    def test_a_reader_sees_what_others_store_once_it_looks_again(self, tmp_path: Path) -> None:
        reader = FeatureStore.open(tmp_path / "s", SPEC)
        with FeatureStore.open(tmp_path / "s", SPEC) as first, FeatureStore.open(tmp_path / "s", SPEC) as second:
            first.append("c/0", frames(2))
            reader.refresh()
            view = reader.get("c/0")
            second.append("c/1", frames(3, 1.0))
            first.append("c/2", frames(1, 2.0))
            assert list(reader) == ["c/0"]
            reader.refresh()
        assert set(reader) == {"c/0", "c/1", "c/2"}
        np.testing.assert_array_equal(reader.get("c/2"), frames(1, 2.0))
        np.testing.assert_array_equal(view, frames(2))

    def test_of_an_id_that_two_stored_the_first_by_shard_counts_and_the_other_is_noted(self, tmp_path: Path) -> None:
        first, second = FeatureStore.open(tmp_path / "s", SPEC), FeatureStore.open(tmp_path / "s", SPEC)
        with first, second:
            first.append("c/0", frames(1))
            second.append("c/1", frames(1, 1.0))
            second.append("c/twice", frames(3, 8.0))
            watching = FeatureStore.open(tmp_path / "s", SPEC)
            first.append("c/twice", frames(2, 7.0))
        watching.refresh()
        for store in (watching, FeatureStore.open(tmp_path / "s", SPEC)):
            assert sorted(store) == ["c/0", "c/1", "c/twice"]
            assert store.duplicates == {"c/twice": 1}
            assert store.frames == 7
            np.testing.assert_array_equal(store.get("c/twice"), frames(2, 7.0))
        assert watching.verify() == ()

    def test_more_shards_than_a_process_may_open_files_can_be_read(self, tmp_path: Path) -> None:
        count = 60
        store = FeatureStore.open(filled(tmp_path / "s", [2] * count, 2 * FRAME_BYTES), SPEC)
        assert store.shards == count
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 20, before[1]))
        try:
            views = [store.get(f"c/{i}") for i in range(count)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert [float(view[0, 0]) for view in views] == [float(i) for i in range(count)]


class TestBeforeThereWereShards:
    def old(self, folder: Path) -> Path:
        """As the first version of the format left a store."""
        filled(folder, [2, 3])
        (folder / FRAMES_FILE).rename(folder / "frames.f16")
        (folder / INDEX_FILE).rename(folder / "index.jsonl")
        policy = json.loads((folder / POLICY_FILE).read_text()) | {"format_version": 1}
        (folder / POLICY_FILE).write_text(json.dumps(policy))
        return folder

    def test_such_a_store_is_read_as_it_is(self, tmp_path: Path) -> None:
        folder = self.old(tmp_path / "s")
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        store = FeatureStore.open(folder, SPEC)
        assert list(store) == list(FeatureStore.inspect(folder)) == ["c/0", "c/1"]
        np.testing.assert_array_equal(store.get("c/1"), frames(3, 1.0))
        assert store.verify() == ()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def test_it_goes_on_in_shards_and_says_so_to_versions_that_know_none(self, tmp_path: Path) -> None:
        folder = self.old(tmp_path / "s")
        old_frames = (folder / "frames.f16").read_bytes()
        with FeatureStore.open(folder, SPEC) as store:
            store.append("c/2", frames(1, 2.0))
        reopened = FeatureStore.open(folder, SPEC)
        assert list(reopened) == ["c/0", "c/1", "c/2"]
        assert [reopened.shard_of(f"c/{i}") for i in range(3)] == ["frames.f16", "frames.f16", FRAMES_FILE]
        assert (folder / "frames.f16").read_bytes() == old_frames
        assert json.loads((folder / POLICY_FILE).read_text())["format_version"] == 2


class TestBeingKilled:
    @settings(deadline=None, max_examples=60)
    @given(
        lengths=st.lists(st.integers(1, 4), min_size=1, max_size=6),
        cuts=st.fixed_dictionaries(
            {name: st.floats(0, 1) for name in (FRAMES_FILE, INDEX_FILE, SECOND_FRAMES, SECOND_INDEX)}
        ),
    )
    def test_whatever_is_cut_off_what_is_still_indexed_is_intact_and_the_rest_can_be_stored_again(
        self, lengths: list[int], cuts: dict[str, float]
    ) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = filled(Path(temporary) / "s", lengths, SMALL_SHARD)
            for name, kept in cuts.items():
                if (folder / name).exists():
                    os.truncate(folder / name, round(kept * (folder / name).stat().st_size))
            expected = {f"c/{i}": frames(length, float(i)) for i, length in enumerate(lengths)}
            store = FeatureStore.open(folder, SPEC, shard_bytes=SMALL_SHARD)
            for name in store:
                np.testing.assert_array_equal(store.get(name), expected[name])
            assert store.verify() == ()
            with store:
                for name in expected.keys() - set(store):
                    store.append(name, expected[name])
            reopened = FeatureStore.open(folder, SPEC)
            assert set(reopened) == expected.keys()
            assert (reopened.verify(), reopened.duplicates) == ((), {})
            for name, values in expected.items():
                np.testing.assert_array_equal(reopened.get(name), values)

    @pytest.mark.parametrize("file", [FRAMES_FILE, INDEX_FILE])
    def test_at_whatever_byte_a_writer_died_the_next_one_goes_on_behind_the_last_whole_item(
        self, tmp_path: Path, file: str
    ) -> None:
        lengths = [2, 1, 3]
        whole = filled(tmp_path / "whole", lengths)
        lines = (whole / INDEX_FILE).read_bytes()
        size = (whole / file).stat().st_size
        for cut in range(size + 1):
            folder = tmp_path / f"cut-{cut}"
            shutil.copytree(whole, folder)
            os.truncate(folder / file, cut)
            if file == INDEX_FILE:
                left = lines[:cut].count(b"\n")
            else:
                left = sum(cut >= FRAME_BYTES * sum(lengths[: i + 1]) for i in range(3))
            with FeatureStore.open(folder, SPEC) as store:
                assert list(store) == [f"c/{i}" for i in range(left)]
                for i in range(left, 3):
                    store.append(f"c/{i}", frames(lengths[i], float(i)))
            assert (folder / FRAMES_FILE).read_bytes() == (whole / FRAMES_FILE).read_bytes()
            assert (folder / INDEX_FILE).read_bytes() == lines

    @settings(deadline=None, max_examples=30)
    @given(st.binary(max_size=40), st.binary(max_size=40).filter(lambda junk: b"\n" not in junk))
    def test_half_written_frames_and_a_half_written_line_count_for_nothing(self, junk: bytes, half: bytes) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = filled(Path(temporary) / "s", [2, 3])
            with (folder / FRAMES_FILE).open("ab") as file:
                file.write(junk)
            with (folder / INDEX_FILE).open("ab") as file:
                file.write(half)
            with FeatureStore.open(folder, SPEC) as store:
                assert list(store) == ["c/0", "c/1"]
                store.append("c/2", frames(1, 2.0))
            reopened = FeatureStore.open(folder, SPEC)
            assert list(reopened) == ["c/0", "c/1", "c/2"]
            assert reopened.verify() == ()

    def test_reading_repairs_nothing(self, tmp_path: Path) -> None:
        folder = filled(tmp_path / "s", [2])
        with (folder / FRAMES_FILE).open("ab") as file:
            file.write(b"junk of another process that is writing")
        before = (folder / FRAMES_FILE).read_bytes()
        FeatureStore.open(folder, SPEC).get("c/0")
        assert (folder / FRAMES_FILE).read_bytes() == before

    def test_processes_killed_while_they_store_lose_nothing_they_had_stored(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        reached = [context.Value("i", 0) for _ in range(2)]
        processes = [
            context.Process(target=_store_until_killed, args=(tmp_path / "s", name, count))
            for name, count in zip("ab", reached, strict=True)
        ]
        for process in processes:
            process.start()
        while min(count.value for count in reached) < 50 and all(process.is_alive() for process in processes):
            processes[0].join(0.001)
        for process in processes:
            process.kill()
            process.join()
        with FeatureStore.open(tmp_path / "s", SPEC) as store:
            for name, count in zip("ab", reached, strict=True):
                assert count.value >= 50
                assert all(store.has(f"{name}/{i}") for i in range(count.value))
            assert (store.verify(), store.duplicates) == ((), {})
            store.append("c/after", frames(1))


class TestDamage:
    def test_a_damaged_line_in_the_middle_is_named(self, tmp_path: Path) -> None:
        folder = filled(tmp_path / "s", [1, 1, 1])
        lines = (folder / INDEX_FILE).read_bytes().split(b"\n")
        lines[1] = b"rubbish"
        (folder / INDEX_FILE).write_bytes(b"\n".join(lines))
        with pytest.raises(FeatureStoreError, match=r"shard-00000\.jsonl:2: damaged; delete it and shard-00000\.f16"):
            FeatureStore.open(folder, SPEC)

    @pytest.mark.parametrize(
        "line",
        [
            {"id": 7, "offset": 1, "frames": 1, "crc32": 1},
            {"id": "c/1", "offset": 1, "frames": 0, "crc32": 1},
            {"id": "c/1", "offset": 1, "frames": 1.5, "crc32": 1},
            {"id": "c/1", "offset": 1, "frames": 1 << 70, "crc32": 1},
            {"id": "c/1", "offset": 2, "frames": 1, "crc32": 1},
            {"id": "c/1", "offset": 1, "frames": 1},
            ["c/1", 1, 1, 1],
        ],
    )
    def test_a_line_that_states_what_cannot_be_is_named(self, tmp_path: Path, line: object) -> None:
        folder = filled(tmp_path / "s", [1, 1, 1])
        lines = (folder / INDEX_FILE).read_bytes().split(b"\n")
        lines[1] = json.dumps(line).encode()
        (folder / INDEX_FILE).write_bytes(b"\n".join(lines))
        with pytest.raises(FeatureStoreError, match=r"jsonl:2: damaged"):
            FeatureStore.open(folder, SPEC)

    def test_changed_frames_are_found_by_checksum(self, tmp_path: Path) -> None:
        folder = filled(tmp_path / "s", [2, 2])
        whole = bytearray((folder / FRAMES_FILE).read_bytes())
        whole[-1] ^= 1
        (folder / FRAMES_FILE).write_bytes(whole)
        read: list[int] = []
        assert FeatureStore.open(folder, SPEC).verify(jobs=2, advance=read.append) == ("c/1",)
        assert sum(read) == 2

    def test_frames_that_went_missing_under_a_reader_are_named(self, tmp_path: Path) -> None:
        store = FeatureStore.open(filled(tmp_path / "s", [2]), SPEC)
        (tmp_path / "s" / FRAMES_FILE).unlink()
        with pytest.raises(FeatureStoreError, match=r"shard-00000\.f16: cannot be read"):
            store.get("c/0")

    def test_a_folder_that_cannot_be_written_to_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "s").write_text("a file where the folder should be")
        with pytest.raises(FeatureStoreError, match="c/0 cannot be stored"):
            FeatureStore(tmp_path / "s", SPEC.as_mapping()).append("c/0", frames(1))

    def test_a_damaged_policy_is_named(self, tmp_path: Path) -> None:
        folder = filled(tmp_path / "s", [1])
        (folder / POLICY_FILE).write_text("{")
        with pytest.raises(FeatureStoreError, match=r"policy\.json"):
            FeatureStore.open(folder, SPEC)


class TestPolicy:
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"stride": 2}, "stride 1 then, 2 now"),
            ({"extractor_version": 2}, "extractor_version"),
            ({"weights_sha256": "abc"}, "weights_sha256 None then, 'abc' now"),
            ({"view": "telephone"}, "view"),
            ({"view_version": 3}, "view_version"),
            ({"arithmetic": "float32"}, "arithmetic"),
            ({"windows": INTERIM_WINDOWS}, "windows"),
            ({"dim": 4}, "dim"),
            ({"speech_margins_s": (0.3, 0.16)}, "speech_margins_s"),
            ({"trim_version": 2}, "trim_version None then, 2 now"),
        ],
    )
    def test_a_store_of_another_policy_is_refused_and_the_difference_named(
        self, tmp_path: Path, change: dict[str, object], named: str
    ) -> None:
        folder = filled(tmp_path / "s", [1])
        with pytest.raises(FeatureStoreError, match=f"another policy .*{named}"):
            FeatureStore.open(folder, replace(SPEC, **change))

    def test_every_field_of_the_policy_changes_its_fingerprint(self) -> None:
        changed = [
            replace(SPEC, backbone="other"),
            replace(SPEC, dim=4),
            replace(SPEC, stride=2),
            replace(SPEC, view="noise"),
            replace(SPEC, view_version=2),
            replace(SPEC, extractor_version=2),
            replace(SPEC, weights_sha256="abc"),
            replace(SPEC, arithmetic="int8"),
            replace(SPEC, windows=FINAL_WINDOWS),
            replace(SPEC, speech_margins_s=(0.3, 0.16)),
            replace(SPEC, trim_version=2),
        ]
        assert len({spec.fingerprint for spec in [SPEC, *changed]}) == 12

    def test_a_store_made_before_the_policy_knew_a_field_that_does_not_apply_to_it_is_still_read(
        self, tmp_path: Path
    ) -> None:
        folder = filled(tmp_path / "s", [1])
        policy = json.loads((folder / POLICY_FILE).read_text())
        del policy["trim_version"]
        (folder / POLICY_FILE).write_text(json.dumps(policy))
        assert len(FeatureStore.open(folder, SPEC)) == 1

    def test_a_writer_under_another_policy_than_one_who_came_first_is_refused(self, tmp_path: Path) -> None:
        early = FeatureStore.open(tmp_path / "s", replace(SPEC, stride=2))
        filled(tmp_path / "s", [1])
        with pytest.raises(FeatureStoreError, match="stride 1 then, 2 now"):
            early.append("c/1", frames(1))

    def test_a_store_can_be_inspected_without_knowing_its_policy(self, tmp_path: Path) -> None:
        store = FeatureStore.inspect(filled(tmp_path / "s", [1, 2]))
        assert len(store) == 2
        assert store.policy == SPEC.as_mapping()

    def test_inspecting_what_is_no_store_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FeatureStoreError, match="no feature store"):
            FeatureStore.inspect(tmp_path)
        (tmp_path / POLICY_FILE).write_text(json.dumps({"format_version": 99, "dim": 3}))
        with pytest.raises(FeatureStoreError, match="not a store of format"):
            FeatureStore.inspect(tmp_path)

    def test_the_speech_backbone_depends_on_weights_windows_and_arithmetic(self) -> None:
        spec = store_spec("whisper-base", stride=4, view="telephone")
        assert spec.windows == FINAL_WINDOWS
        assert spec.weights_sha256 is not None
        assert spec.arithmetic == "int8"
        assert spec.folder == "whisper-base-stride4-telephone"

    def test_what_hears_audio_depends_on_how_clips_are_cut_to_their_speech(self) -> None:
        assert store_spec("whisper-base").trim_version == store_spec("prosody").trim_version == TRIM_VERSION
        assert store_spec("prosody").speech_margins_s == (LEAD_S, TAIL_S)
        assert (store_spec("minilm-l6").trim_version, store_spec("minilm-l6").speech_margins_s) == (None, None)

    def test_a_checkpoint_is_told_from_any_other_by_its_files(self, tmp_path: Path) -> None:
        def fingerprint(seed: int) -> str:
            local = LocalCheckpoint(tiny_checkpoint("wavlm", tmp_path / str(seed), seed=seed))
            return store_spec(replace(BACKBONES["wavlm-large"], weights=local)).fingerprint

        assert fingerprint(1) == fingerprint(1) != fingerprint(2)

    def test_how_layers_are_read_makes_another_store(self) -> None:
        wavlm = BACKBONES["wavlm-large"]
        summed, fewer, stacked = (
            store_spec(s) for s in (wavlm, replace(wavlm, layers=2), replace(wavlm, stacked=True))
        )
        assert (summed.folder, summed.dim, summed.hidden_layers) == ("wavlm-large-clean", 1024, None)
        assert (fewer.folder, fewer.dim) == ("wavlm-large-2-layers-summed-clean", 1024)
        assert (stacked.folder, stacked.dim) == ("wavlm-large-4-layers-stacked-clean", 4096)
        assert len({summed.fingerprint, fewer.fingerprint, stacked.fingerprint}) == 3

    def test_a_policy_tells_of_deviations_where_there_are_any(self) -> None:
        plain, wider = store_spec("prosody", stride=4), store_spec("prosody", stride=4, deviations=True)
        assert (wider.folder, wider.dim) == ("prosody-stride4-deviations-clean", 2 * plain.dim)
        assert "deviations" not in plain.as_mapping()
        assert wider.as_mapping()["deviations"] is True
        assert plain.fingerprint != wider.fingerprint

    def test_whisper_hears_its_windows_whichever_library_computes_it(self) -> None:
        spec = store_spec("whisper-large-v3")
        assert (spec.windows, spec.arithmetic) == (FINAL_WINDOWS, None)
        assert store_spec("wavlm-large").windows is None

    def test_weights_that_nothing_fixes_must_be_fetched_first(self, tmp_path: Path) -> None:
        settings = WeightsSettings(cache=str(tmp_path))
        with pytest.raises(WeightsError, match=r"nothing fixes .* run medusa weights fetch wav2vec2-large"):
            store_spec("wav2vec2-large", weights=settings)

    def test_prosody_has_neither_weights_nor_windows(self) -> None:
        spec = store_spec("prosody", view="telephone")
        assert (spec.weights_sha256, spec.windows, spec.folder) == (None, None, "prosody-telephone")

    def test_text_has_one_store_whatever_the_waveform_goes_through(self) -> None:
        assert store_spec("minilm-l6", view="telephone") == store_spec("minilm-l6")


def _store_until_killed(folder: Path, name: str, reached: object) -> None:
    with FeatureStore.open(folder, SPEC, shard_bytes=500 * FRAME_BYTES) as store:
        for i in range(1_000_000):
            store.append(f"{name}/{i}", frames(1 + i % 5, float(i % 100)))
            reached.value = i + 1  # type: ignore[attr-defined]
