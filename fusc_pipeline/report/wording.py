"""Plain words for what the report shows: names of models, reasons and figures, counts and lists in English."""

LABEL_REASONS = {
    "labelled": "label read",
    "no_text": "no text on the frame",
    "no_match": "text, but none that names a view",
    "ambiguous": "text that names two views, or could",
    "low_confidence": "text too faint to be sure of",
}

# (column, heading, the heading's small print, what it means)
FIGURES = (
    (
        "cluster_purity",
        "Purity",
        "CP",
        "Share of the frames that show the commonest view of their group. It rises with the number of groups by itself "
        "(one frame per group is always 100 %), so compare it only within one K and against the chance line.",
    ),
    (
        "nmi",
        "Shared information",
        "NMI",
        "How much the group tells about the view and the view about the group, 0 to 100. Splitting a view over several "
        "groups lowers it, unlike purity. With few frames it is well above 0 by chance.",
    ),
    (
        "ari",
        "Pair agreement",
        "ARI",
        "Take two frames: do groups and labels agree on whether they belong together? 100 is perfect, 0 is chance.",
    ),
    (
        "accuracy",
        "Accuracy",
        "ACC",
        "Each view gets one group, each group one view, paired as well as possible (Hungarian matching): the share of "
        "frames in the right pair. Groups left over count as errors.",
    ),
    (
        "macro_recall",
        "Average per view",
        "macro recall",
        "For each view the share of its frames in its own group, then the mean over views: a rare view counts as much "
        "as a common one.",
    ),
)
