// Elementwise kernels on tensors of whole vectors, four numbers at a time.

alias Numbers = vec4f;
alias MapNumbers = Map4;
const WIDTH = 4u;
