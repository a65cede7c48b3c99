"""Networks written as ONNX, node by node: encoders, members, the whole ensemble."""
