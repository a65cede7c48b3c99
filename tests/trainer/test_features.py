from __future__ import annotations

import json
import multiprocessing
import os
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
from trainer.features import FRAMES_FILE, INDEX_FILE, FeatureStore
from trainer.silence import LEAD_S, TAIL_S, TRIM_VERSION

DIM = 3
SPEC = StoreSpec(backbone="made-up", dim=DIM)


def frames(count: int, value: float = 1.0) -> np.ndarray:
    return np.full((count, DIM), value, dtype=np.float32)


def filled(folder: Path, lengths: list[int]) -> Path:
    with FeatureStore.open(folder, SPEC) as store:
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

    def test_only_one_may_write_at_a_time(self, tmp_path: Path) -> None:
        with FeatureStore.open(tmp_path / "s", SPEC) as writer:
            writer.append("c/0", frames(1))
            other = FeatureStore.open(tmp_path / "s", SPEC)
            with pytest.raises(FeatureStoreError, match="another process writes"):
                other.append("c/1", frames(1))
        other.append("c/1", frames(1))
        other.close()
        assert list(FeatureStore.open(tmp_path / "s", SPEC)) == ["c/0", "c/1"]

    def test_a_writer_takes_in_what_another_wrote_since_it_opened(self, tmp_path: Path) -> None:
        early = FeatureStore.open(tmp_path / "s", SPEC)
        filled(tmp_path / "s", [2, 3])
        with early:
            early.append("c/late", frames(1, 9.0))
        reopened = FeatureStore.open(tmp_path / "s", SPEC)
        assert list(reopened) == ["c/0", "c/1", "c/late"]
        np.testing.assert_array_equal(reopened.get("c/late"), frames(1, 9.0))


class TestBeingKilled:
    @settings(deadline=None, max_examples=150)
    @given(
        lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6),
        file=st.sampled_from([FRAMES_FILE, INDEX_FILE]),
        data=st.data(),
    )
    def test_whatever_is_cut_off_every_item_still_indexed_is_intact_and_the_rest_can_be_stored_again(
        self, lengths: list[int], file: str, data: st.DataObject
    ) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = filled(Path(temporary) / "s", lengths)
            size = (folder / file).stat().st_size
            cut = data.draw(st.integers(0, size), label="bytes kept")
            os.truncate(folder / file, cut)
            store = FeatureStore.open(folder, SPEC)
            kept = list(store)
            assert kept == [f"c/{i}" for i in range(len(kept))]
            assert cut < size or len(kept) == len(lengths)
            assert store.verify() == ()
            with store:
                for i in range(len(kept), len(lengths)):
                    store.append(f"c/{i}", frames(lengths[i], float(i)))
            reopened = FeatureStore.open(folder, SPEC)
            assert list(reopened) == [f"c/{i}" for i in range(len(lengths))]
            assert reopened.verify() == ()
            for i, length in enumerate(lengths):
                np.testing.assert_array_equal(reopened.get(f"c/{i}"), frames(length, float(i)))
            assert (folder / FRAMES_FILE).stat().st_size == sum(lengths) * DIM * 2

    @settings(deadline=None, max_examples=50)
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

    def test_a_process_killed_while_it_stores_loses_nothing_it_had_stored(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        reached = context.Value("i", 0)
        process = context.Process(target=_store_until_killed, args=(tmp_path / "s", reached))
        process.start()
        while reached.value < 50 and process.is_alive():
            process.join(0.001)
        process.kill()
        process.join()
        with FeatureStore.open(tmp_path / "s", SPEC) as store:
            assert len(store) >= 50
            assert store.verify() == ()
            store.append("c/after", frames(1))


class TestDamage:
    def test_a_damaged_line_in_the_middle_is_named(self, tmp_path: Path) -> None:
        folder = filled(tmp_path / "s", [1, 1, 1])
        lines = (folder / INDEX_FILE).read_bytes().split(b"\n")
        lines[1] = b"rubbish"
        (folder / INDEX_FILE).write_bytes(b"\n".join(lines))
        with pytest.raises(FeatureStoreError, match=r"index\.jsonl:2: damaged; delete"):
            FeatureStore.open(folder, SPEC)

    def test_changed_frames_are_found_by_checksum(self, tmp_path: Path) -> None:
        folder = filled(tmp_path / "s", [2, 2])
        whole = bytearray((folder / FRAMES_FILE).read_bytes())
        whole[-1] ^= 1
        (folder / FRAMES_FILE).write_bytes(whole)
        assert FeatureStore.open(folder, SPEC).verify() == ("c/1",)

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


def _store_until_killed(folder: Path, reached: object) -> None:
    with FeatureStore.open(folder, SPEC) as store:
        for i in range(1_000_000):
            store.append(f"c/{i}", frames(1 + i % 5, float(i % 100)))
            reached.value = i + 1  # type: ignore[attr-defined]
