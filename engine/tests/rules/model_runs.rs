//! Random runs of the model.
