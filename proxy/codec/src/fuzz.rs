//! Entry points for fuzzing: each takes any bytes and must neither panic nor loop.
