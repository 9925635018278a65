"""Networks: tensors in, tensors out; they know no loss."""
