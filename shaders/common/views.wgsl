// Layouts of the `views` and `colours` slots, four words an image (`ops::input`).

const VIEW_ROW = 0u;
const VIEW_COLUMN = 1u;
const VIEW_MIRROR = 2u;

const COLOUR_RED = 0u;
const COLOUR_GREEN = 1u;
const COLOUR_BLUE = 2u;
const COLOUR_GAIN = 3u;
