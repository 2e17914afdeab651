// Matrices of 16 x 16 halves, the operands and sums of `matrix.wgsl`.

const SIDE = 16;

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
