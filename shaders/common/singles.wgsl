// Elementwise kernels on tensors of any size, one number at a time.

alias Numbers = f32;
alias MapNumbers = Map;
const WIDTH = 1u;
