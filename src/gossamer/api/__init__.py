"""What is served over gRPC. Protobuf stops here: requests become values, configurations become messages."""
