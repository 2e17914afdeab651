// Layout of the `health` slot (`ops::health::state`).

const HEALTH_ILL = 0u;
const HEALTH_STEP = 1u;
const HEALTH_SCALE = 2u;
const HEALTH_INVERSE = 3u;
const HEALTH_GOOD = 4u;
const HEALTH_SKIP = 5u;
