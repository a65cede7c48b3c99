"""The ensemble: members over shared inputs, one calibrated answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.deepser import DeepSER, DeepSERConfig
from models.emotions import MSP8, LabelSet
from models.ensemble import Ensemble, lengths_to_mask
from models.errors import FeatureError
from models.meta import MetaClassifier, member_answers
from models.modalities import Modality
from tests.fakes.bundles import tiny_bundle

SOUND = Modality("acoustic", "acoustic", "whisper-base", dim=6)
TEXT = Modality("text", "linguistic", "minilm-l6", dim=5)
LABELS = MSP8.without("contempt")


def member(*modalities: Modality, labels: int = len(LABELS)) -> DeepSER:
    names, dims = tuple(m.name for m in modalities), tuple(m.dim for m in modalities)
    return DeepSER(DeepSERConfig(names, dims, labels=labels, width=8, feed_forward=8))


def ensemble(temperature: float = 1.0) -> Ensemble:
    torch.manual_seed(0)
    members = {"both": member(SOUND, TEXT), "v2.text": member(TEXT)}
    meta = MetaClassifier(2, len(LABELS))
    torch.nn.init.normal_(meta.to_logits.weight)
    return Ensemble(members, meta, LABELS, (SOUND, TEXT), temperature).eval()


def inputs(rows: int = 3) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    features = {m.name: torch.randn(rows, 4, m.dim, generator=generator) for m in (SOUND, TEXT)}
    return features, {m.name: torch.full((rows,), 3) for m in (SOUND, TEXT)}


def test_it_answers_with_a_distribution_and_attributes_on_their_scale() -> None:
    output = ensemble()(*inputs())
    assert output.probabilities.shape == (3, 7)
    torch.testing.assert_close(output.probabilities.sum(dim=1), torch.ones(3))
    assert output.attributes.shape == (3, 3)
    assert ((output.attributes >= 1) & (output.attributes <= 7)).all()


def test_members_answers_are_their_own() -> None:
    model = ensemble()
    features, lengths = inputs()
    found = model.member_outputs(features, lengths)
    masks = {name: lengths_to_mask(features[name], lengths[name]) for name in features}
    for position, each in enumerate(model.members):
        alone = each(features, masks)
        torch.testing.assert_close(found.probabilities[:, position], torch.softmax(alone.logits, dim=-1))
        torch.testing.assert_close(found.attributes[:, position], alone.attributes)
    assert model.member_names == ("both", "v2.text")


def test_the_answer_is_the_meta_classifiers_over_the_members() -> None:
    model = ensemble(temperature=2.0)
    logits, attributes = model.meta(member_answers(*model.member_outputs(*inputs())))
    output = model(*inputs())
    torch.testing.assert_close(output.probabilities, torch.softmax(logits / 2.0, dim=-1))
    torch.testing.assert_close(output.attributes, attributes)


def test_temperature_changes_confidence_and_never_the_label() -> None:
    sharp, soft = (ensemble(t)(*inputs(20)).probabilities for t in (0.5, 4.0))
    assert torch.equal(sharp.argmax(dim=1), soft.argmax(dim=1))
    assert (sharp.max(dim=1).values > soft.max(dim=1).values).all()


def test_a_member_with_nothing_to_read_says_what_the_others_say() -> None:
    features, lengths = inputs()
    lengths["text"][1] = 0
    found = ensemble().member_outputs(features, lengths)
    torch.testing.assert_close(found.probabilities[1, 1], found.probabilities[1, 0])
    torch.testing.assert_close(found.attributes[1, 1], found.attributes[1, 0])
    assert not torch.allclose(found.probabilities[0, 1], found.probabilities[0, 0])


@pytest.mark.parametrize(
    ("members", "meta", "modalities", "temperature", "message"),
    [
        ({"a": member(SOUND)}, MetaClassifier(1, 7), (TEXT,), 1.0, "member a reads {'acoustic': 6}"),
        ({"a": member(TEXT, labels=8)}, MetaClassifier(1, 7), (TEXT,), 1.0, "tells 8 labels apart"),
        ({"a": member(TEXT)}, MetaClassifier(2, 7), (TEXT,), 1.0, "reads 2 members with 7 labels, there are 1"),
        ({"a": member(TEXT)}, MetaClassifier(1, 8), (TEXT,), 1.0, "with 8 labels, there are 1 with 7"),
        ({"a": member(TEXT)}, MetaClassifier(1, 7), (SOUND, TEXT), 1.0, "no member reads acoustic"),
        ({"a": member(TEXT)}, MetaClassifier(1, 7), (TEXT,), 0.0, "temperature must be positive"),
        ({"a": member(TEXT)}, MetaClassifier(1, 7), (TEXT,), float("nan"), "temperature must be positive"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    members: dict[str, DeepSER],
    meta: MetaClassifier,
    modalities: tuple[Modality, ...],
    temperature: float,
    message: str,
) -> None:
    with pytest.raises(FeatureError, match=message):
        Ensemble(members, meta, LabelSet(LABELS.names), modalities, temperature)


def test_a_bundle_becomes_an_ensemble_in_evaluation_mode(tmp_path: Path) -> None:
    model = tiny_bundle(tmp_path / "tiny").ensemble()
    assert not any(module.training for module in model.modules())
    assert model.member_names == ("acoustic-text", "all", "prosody-text")
