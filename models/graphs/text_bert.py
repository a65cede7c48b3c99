"""BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) as ONNX nodes; they differ in where positions begin."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from models.graphs.graph import Value
from models.graphs.text_layers import TextLayers, TextShape


class BertShape(TextShape):
    """BERT, in the layout that the hub's checkpoints have."""

    task_prefix: ClassVar[str] = "bert."
    layers_prefix: ClassVar[str] = "encoder."
    other_prefixes: ClassVar[tuple[str, ...]] = ("embeddings.",)

    layer_norm_eps: float = Field(gt=0)
    hidden_act: Literal["gelu"]
    position_embedding_type: Literal["absolute"] = "absolute"
    is_decoder: Literal[False] = False

    @property
    def epsilon(self) -> float:
        """What norms add to a variance."""
        return self.layer_norm_eps

    @property
    def first_position(self) -> int:
        """Row of the table of positions that the first token gets."""
        return 0

    def hidden(self, layers: TextLayers) -> list[Value]:
        """As `TextShape.hidden`."""
        among = layers.among_all()
        x = self._embedded(layers)
        hidden = []
        for layer in range(self.num_hidden_layers):
            x = self._layer(layers, f"encoder.layer.{layer}", x, among)
            hidden.append(x)
        return hidden

    def _embedded(self, layers: TextLayers) -> Value:
        graph, weights = layers.graph, layers.weights
        words = layers.looked_up("embeddings.word_embeddings.weight")
        # Every token is of the first segment: what that adds is added to the positions once.
        kind = weights["embeddings.token_type_embeddings.weight"][0]
        table = weights["embeddings.position_embeddings.weight"][self.first_position :]
        own = graph.op("Slice", graph.constant(table + kind), graph.constant([0]), layers.time, graph.constant([0]))
        return layers.norm("embeddings.LayerNorm", layers.flat(graph.op("Add", words, own)))

    def _layer(self, layers: TextLayers, name: str, x: Value, among: Value) -> Value:
        graph = layers.graph
        attended = layers.attention(
            f"{name}.attention.self",
            x,
            shape=layers.by_head,
            added=lambda _name, _x: among,
            parts=("query", "key", "value"),
        )
        attended = layers.linear(f"{name}.attention.output.dense", attended)
        x = layers.norm(f"{name}.attention.output.LayerNorm", graph.op("Add", x, attended))
        inner = layers.gelu(layers.linear(f"{name}.intermediate.dense", x))
        return layers.norm(f"{name}.output.LayerNorm", graph.op("Add", x, layers.linear(f"{name}.output.dense", inner)))


class RobertaShape(BertShape):
    """RoBERTa: positions begin behind the row that the padding token has in their table.

    transformers counts tokens that are no padding, which comes to the same: no text holds the padding token.
    """

    task_prefix: ClassVar[str] = "roberta."

    pad_token_id: int = Field(default=1, ge=0)

    @property
    def first_position(self) -> int:
        """As `BertShape.first_position`."""
        return self.pad_token_id + 1
