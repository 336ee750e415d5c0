"""The fifteen second-trimester views of the FUSC paper: names, groups, shares.."""

VIEWS: tuple[str, ...] = (
    "Spine",
    "Lips/Nose",
    "Kidney",
    "Orbit",
    "LVOT",
    "RVOT",
    "Brain",
    "Cord Insertion",
    "4CH",
    "Femur",
    "3VV/3VT",
    "Diaphragm",
    "Abdomen",
    "Profile",
    "Feet",
)

# The paper's merged classes ("Clustering By Merging Semantically Similar Views", Table 2).
VIEW_GROUPS: dict[str, tuple[str, ...]] = {
    "Heart": ("RVOT", "LVOT", "4CH", "3VV/3VT"),
    "Head": ("Brain", "Profile", "Orbit", "Lips/Nose"),
    "Abdomen": ("Abdomen", "Kidney", "Diaphragm", "Cord Insertion"),
    "Bone": ("Spine", "Feet", "Femur"),
}

GROUP_OF: dict[str, str] = {view: group for group, views in VIEW_GROUPS.items() for view in views}

# Share of each view in the paper's 88,063 frames. Nine counts are legible in Figure 1; Spine, Orbit, RVOT, Femur,
# 3VV/3VT and Feet are estimated from Table 4 (top-3 shares of the test clusters, scaled to what Figure 1 leaves).
PAPER_VIEW_SHARES: dict[str, float] = {
    "Spine": 0.262,
    "Lips/Nose": 0.136,
    "Kidney": 0.100,
    "Orbit": 0.082,
    "LVOT": 0.071,
    "RVOT": 0.068,
    "Brain": 0.061,
    "Cord Insertion": 0.048,
    "4CH": 0.044,
    "Femur": 0.026,
    "3VV/3VT": 0.025,
    "Diaphragm": 0.024,
    "Abdomen": 0.022,
    "Profile": 0.021,
    "Feet": 0.010,
}
