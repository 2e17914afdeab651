// s^-beta of a response normalisation, for the vector `Numbers` of the kernel; beta = 3/4 needs no logarithm.

fn power(s: Numbers) -> Numbers {
    if BETA == 0.75 {
        let r = inverseSqrt(s);
        return r * sqrt(r);
    }
    return pow(s, Numbers(-BETA));
}
