// The few words that change every step; the host writes them (`ops::step`).

const STEP_SEED_LOW = 0u;
const STEP_SEED_HIGH = 1u;
const STEP_STEP = 2u;
const STEP_IMAGES = 3u;
const STEP_FIRST_IMAGE = 4u;

// Label of an image that fills up a batch.
const NO_LABEL = 0xffffffffu;
