"""Every table that leaves an asset: its pyarrow schema, and the unit and meaning of each column.

The Parquet IO manager and the store check tables against these on write and on read; nothing is cast silently.
"""

import pyarrow as pa

EMBEDDING = pa.list_(pa.float32())


def _schema(*columns: tuple[str, pa.DataType, bool, str]) -> pa.Schema:
    """(name, type, nullable, meaning) → schema with the meaning kept in the field's metadata."""
    return pa.schema([pa.field(name, kind, nullable, {"comment": text}) for name, kind, nullable, text in columns])


def _image_id(meaning: str = "SHA-256 (hex) of the decoded pixels and their shape") -> tuple:
    return ("image_id", pa.string(), False, meaning)


# Hugging Face `datasets` reads this struct as an Image column.
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

# What a frame shows, by scans.content: one B-mode picture; B-mode with colour or power Doppler in it; a trace below or
# instead of it (M-mode, spectral Doppler); two pictures side by side; a rendered surface.
CONTENTS = ("b_mode", "colour_flow", "m_mode", "spectral", "dual", "render_3d")

SCANS = _schema(
    _image_id(),
    ("png", pa.binary(), False, "lossless PNG of the decoded frame, grey or RGB; may still show burnt-in identity"),
    ("height", pa.int32(), False, "pixels"),
    ("width", pa.int32(), False, "pixels"),
    ("source_sha256", pa.string(), False, "SHA-256 (hex) of the delivered file's bytes"),
    ("file_key", pa.string(), False, "keyed hash of the file's path in the batch; `fusc files` maps it back locally"),
    ("frame_index", pa.int32(), False, "frame within the file, from 0"),
    ("n_frames", pa.int32(), False, "frames in the file"),
    (
        "subject_key",
        pa.string(),
        False,
        "keyed hash of the patient id; without one of the study, the path's subject or the file",
    ),
    ("subject_source", pa.string(), False, "where the subject came from: dataset, dicom, study, path or file"),
    ("study_key", pa.string(), True, "keyed hash of the study instance UID"),
    ("source_format", pa.string(), False, "dicom, png, jpeg or tiff"),
    ("transfer_syntax", pa.string(), True, "DICOM transfer syntax UID"),
    ("photometric", pa.string(), True, "DICOM photometric interpretation"),
    ("machine", pa.string(), True, "manufacturer and model, from a list of known machines; other for the rest"),
    ("region_x0", pa.int32(), False, "ultrasound region in pixels: left, inclusive"),
    ("region_y0", pa.int32(), False, "top, inclusive"),
    ("region_x1", pa.int32(), False, "right, exclusive"),
    ("region_y1", pa.int32(), False, "bottom, exclusive"),
    ("region_source", pa.string(), False, "dicom (SequenceOfUltrasoundRegions) or picture (the fan that was found)"),
    ("mm_per_px", pa.float32(), True, "millimetres per pixel, where DICOM gives centimetres"),
    ("content", pa.string(), False, "what the frame shows, one of CONTENTS; a flag: nothing is left out by it here"),
    ("own_label", pa.string(), True, "the label that a public data set brings for this image, from its closed list"),
    ("own_split", pa.string(), True, "train or test as that data set says; never used to divide the corpus"),
    ("notes", pa.string(), True, "what reading decided against the file's header, in sentences without its values"),
)

REJECTED_SCANS = _schema(
    ("file_key", pa.string(), False, "keyed hash of the file's path in the batch; `fusc files` maps it back locally"),
    ("source_sha256", pa.string(), True, "SHA-256 (hex) of the file's bytes; null: not read, or no picture"),
    ("frame_index", pa.int32(), True, "the frame concerned; null when the whole file was refused"),
    ("suffix", pa.string(), False, "the file name's ending where it is a known file type, lower case; else empty"),
    ("size_bytes", pa.int64(), False, "bytes"),
    ("reason", pa.string(), False, "short code, one of scans.reading.REASONS"),
    ("detail", pa.string(), False, "what is wrong and what to do, without names or values of identifying attributes"),
)

BURNED_IN_TEXT = _schema(
    _image_id(),
    (
        "word",
        pa.int32(),
        False,
        "index of the word in the frame, from 0; -1: the frame holds no word; -2: it could not be read",
    ),
    ("x0", pa.int32(), True, "box in pixels of the frame: left, inclusive"),
    ("y0", pa.int32(), True, "top, inclusive"),
    ("x1", pa.int32(), True, "right, exclusive"),
    ("y1", pa.int32(), True, "bottom, exclusive"),
    ("confidence", pa.float32(), True, "the OCR engine's confidence, 0 to 1"),
    ("angle", pa.int16(), True, "degrees by which the line is turned counter-clockwise: 0, 90, 180 or 270"),
    ("n_views", pa.int32(), True, "different views this word names; more than one can be no label"),
    ("view", pa.string(), True, "view this word (or the line it is part of) names, or null"),
    ("alias", pa.string(), True, "the lexicon entry that matched"),
    ("match_score", pa.float32(), True, "1: exact; lower: edits or confusions were needed"),
    ("text", pa.string(), True, "the raw string; null unless keep_text is set"),
)

PSEUDO_LABELS = _schema(
    _image_id(),
    ("view", pa.string(), True, "the view its burnt-in text names, or null"),
    ("alias", pa.string(), True, "the lexicon entry that matched"),
    ("score", pa.float32(), True, "match score times OCR confidence, 0 to 1"),
    ("reason", pa.string(), False, "labelled, no_text, no_match, ambiguous, low_confidence or unread"),
)

CLEAN_IMAGES = _schema(
    _image_id("image_id of the scan this was made from"),
    ("subject_key", pa.string(), False, "keyed hash of the subject, carried over from the scan"),
    ("subject_source", pa.string(), False, "where the subject came from: dataset, dicom, study, path or file"),
    ("study_key", pa.string(), True, "keyed hash of the study instance UID, carried over from the scan"),
    ("machine", pa.string(), True, "manufacturer and model, carried over from the scan"),
    ("image", IMAGE, True, "PNG, grey, cropped to the ultrasound region, zero outside the fan; null: quarantined"),
    ("height", pa.int32(), True, "pixels, after the crop"),
    ("width", pa.int32(), True, "pixels, after the crop"),
    ("crop_x0", pa.int32(), True, "where the crop's left edge lies in the scan, pixels"),
    ("crop_y0", pa.int32(), True, "where the crop's top edge lies in the scan, pixels"),
    ("fan_confidence", pa.float32(), True, "0 to 1; how well the picture supports the fan's outline"),
    ("ink_share", pa.float32(), True, "share of the fan's pixels that were repainted, 0 to 1"),
    ("repairs", pa.int32(), True, "times it was cleaned again as a second engine still read text; null: not checked"),
    ("quarantined", pa.string(), True, "why the frame is not passed on, or null"),
)

CORPUS = _schema(
    _image_id(),
    ("scan_batch", pa.string(), False, "partition the image came with (the first, when delivered twice)"),
    ("subject_key", pa.string(), False, "keyed hash; all frames of a subject, or of a study, have one, and one split"),
    ("own_subject_key", pa.string(), False, "the scan's own; subjects that share a study have the smallest of theirs"),
    ("machine", pa.string(), True, "manufacturer and model"),
    ("view", pa.string(), True, "pseudo-label, or null"),
    ("own_label", pa.string(), True, "the label that a public data set brings, carried over from the scan"),
    ("own_split", pa.string(), True, "train or test as that data set says; `split` is not made from it"),
    ("split", pa.string(), False, "train or test"),
)

EMBEDDINGS = _schema(
    _image_id(),
    ("split", pa.string(), False, "train or test"),
    ("embedding", EMBEDDING, False, "L2-normalised vector"),
)

NEIGHBORS = _schema(
    _image_id(),
    ("split", pa.string(), False, "train or test; neighbours are always of the train split"),
    ("neighbor_ids", pa.list_(pa.string()), False, "image_ids, most similar first, never the image itself"),
    ("similarities", pa.list_(pa.float32()), False, "cosine similarity of each neighbour, -1 to 1"),
)

CLUSTERS = _schema(
    _image_id(),
    ("split", pa.string(), False, "train or test"),
    ("n_clusters", pa.int32(), False, "K the model was asked for"),
    ("seed", pa.int32(), False, "random seed of the fit"),
    ("cluster", pa.int32(), False, "0 to K-1"),
    ("confidence", pa.float32(), False, "probability of the assigned cluster under the model, 0 to 1"),
)

PURITY = _schema(
    ("model", pa.string(), False, "name of the model's asset"),
    ("n_clusters", pa.int32(), False, "K"),
    ("seed", pa.int32(), False, "random seed of the fit"),
    ("split", pa.string(), False, "train or test"),
    ("label_set", pa.string(), False, "views: the 15, or groups: the 4 that Table 2 merges them into"),
    ("n", pa.int32(), False, "labelled images scored"),
    (
        "n_unlabelled",
        pa.int32(),
        False,
        "images of the split without a pseudo-label, left out of every figure but filled",
    ),
    ("cluster_purity", pa.float64(), True, "CP, equation 3, 0 to 1"),
    ("nmi", pa.float64(), True, "normalised mutual information, equation 2, 0 to 1"),
    ("ari", pa.float64(), True, "adjusted Rand index, -0.5 to 1"),
    ("accuracy", pa.float64(), True, "Hungarian accuracy on the rectangular contingency table, 0 to 1"),
    ("macro_recall", pa.float64(), True, "mean over views of the share found under the Hungarian matching, 0 to 1"),
    ("filled_clusters", pa.int32(), False, "clusters with at least one image of the split"),
    ("majority_share", pa.float64(), True, "share of the largest view: the purity of a single cluster"),
)

COMPOSITION = _schema(
    ("model", pa.string(), False, "name of the model's asset"),
    ("n_clusters", pa.int32(), False, "K"),
    ("seed", pa.int32(), False, "random seed of the fit"),
    ("cluster", pa.int32(), False, "0 to K-1"),
    ("size", pa.int32(), False, "images of the test split in it"),
    ("labelled", pa.int32(), False, "of these, with a pseudo-label"),
    ("rank", pa.int32(), False, "1 to 3: place of this view in the cluster"),
    ("view", pa.string(), False, "view"),
    ("share", pa.float64(), False, "share of the cluster's labelled images, 0 to 1"),
)

UNSEEN = pa.struct(
    [
        ("label", pa.string()),
        ("n", pa.int32()),
        ("cluster", pa.int32()),
        ("share", pa.float64()),
        ("purity", pa.float64()),
    ]
)

EXTERNAL_PURITY = _schema(
    ("scan_batch", pa.string(), False, "external batch that was scored"),
    ("data_set", pa.string(), False, "its layout: plain, fetal_planes_db or folder_per_view"),
    ("label_source", pa.string(), False, "own_label (the data set's), pseudo_label, or none"),
    ("model", pa.string(), False, "name of the model's asset, applied as it is"),
    ("n_clusters", pa.int32(), False, "K"),
    ("seed", pa.int32(), True, "random seed of the fit; null: the model has no fit with this K"),
    ("as_many_as_classes", pa.bool_(), False, "whether K is the number of classes of this data set"),
    ("n", pa.int32(), False, "labelled images scored"),
    ("n_unlabelled", pa.int32(), False, "images without a label, left out of every figure but filled"),
    ("n_excluded", pa.int32(), False, "images of classes that `exclude` names, left out altogether"),
    ("n_in_corpus", pa.int32(), False, "images that the corpus holds as well, left out altogether"),
    ("n_classes", pa.int32(), False, "classes among the scored images"),
    ("cluster_purity", pa.float64(), True, "CP, equation 3, 0 to 1"),
    ("nmi", pa.float64(), True, "normalised mutual information, equation 2, 0 to 1"),
    ("ari", pa.float64(), True, "adjusted Rand index, -0.5 to 1"),
    ("accuracy", pa.float64(), True, "Hungarian accuracy on the rectangular contingency table, 0 to 1"),
    ("macro_recall", pa.float64(), True, "mean over classes of the share found under the Hungarian matching, 0 to 1"),
    ("filled_clusters", pa.int32(), True, "clusters with at least one image"),
    ("majority_share", pa.float64(), True, "share of the largest class: the purity of a single cluster"),
    (
        "unseen",
        pa.list_(UNSEEN),
        False,
        "classes that none of the fifteen views shows: their images, the cluster that holds most of them, which share "
        "of them it holds, and which share of it they are",
    ),
    ("note", pa.string(), True, "why there is no fit, and the setting that adds one; or how K was fitted"),
)

INPAINTING_AUDIT = _schema(
    (
        "measure",
        pa.string(),
        False,
        "residual_text, faint_text, probe_accuracy, leak, probe_power, or attention_accuracy, attention, "
        "attention_control, attention_excess (evaluation.attention_rows)",
    ),
    ("by", pa.string(), False, "OCR engine, either of them, what the probe or classifier was shown; with `: view`"),
    ("n", pa.int32(), False, "frames looked at"),
    ("count", pa.int32(), True, "frames that count: with text left, or judged right by the probe or classifier"),
    (
        "value",
        pa.float64(),
        True,
        "count / n, a difference of two such shares, or a ratio of attention; null: not measured, see detail",
    ),
    ("low", pa.float64(), True, "95 % interval of value: lower end (Wilson; probe and attention: over subjects)"),
    ("high", pa.float64(), True, "upper end"),
    ("detail", pa.string(), True, "why there is no value, or what it rests on"),
)

LABEL_AUDIT = _schema(
    _image_id(),
    ("scan_batch", pa.string(), False, "partition the image came with"),
    ("sample", pa.string(), False, "id of the sample that was judged"),
    ("reviewer", pa.int32(), False, "1, 2, ...; who that is stays in the private folder"),
    ("stratum", pa.string(), False, "the view the sample was drawn from, or (no label)"),
    ("stratum_size", pa.int32(), False, "frames of the corpus in the stratum when the sample was drawn"),
    ("stratum_sample", pa.int32(), False, "of these, frames drawn"),
    ("view", pa.string(), True, "the pseudo-label that was judged, or null"),
    ("answer", pa.string(), False, "right, wrong or unclear; wrong without a label: one was missed"),
    ("correct_view", pa.string(), True, "where wrong: the view the reviewer names, null for none of the fifteen"),
    ("label_now", pa.string(), True, "the corpus's label of this image when this table was made, or null"),
)

CANDIDATE_MODEL = _schema(
    _image_id(),
    ("scan_batch", pa.string(), False, "partition the image came with"),
    ("subject_key", pa.string(), False, "keyed hash of the subject"),
    ("view", pa.string(), True, "pseudo-label, or null"),
    ("split", pa.string(), False, "train or test, as the model was trained"),
    ("cluster", pa.int32(), False, "0 to K-1, the model's own number; its identity is given when it is promoted"),
    ("confidence", pa.float32(), False, "probability of that cluster under the model, 0 to 1"),
)

MODEL_IN_SERVICE = _schema(
    ("step", pa.int32(), False, "place in the history, from 1; only ever appended to"),
    ("at", pa.timestamp("ms", tz="UTC"), False, "when it was decided"),
    ("action", pa.string(), False, "promoted, kept (the one in service stays) or rolled_back"),
    ("number", pa.int32(), False, "the model this is about, from 1; never given twice"),
    ("in_service", pa.int32(), False, "the model in service from then on"),
    ("why", pa.string(), False, "in words, with the figures it rests on"),
    ("version", pa.string(), False, "version of candidate_model that became this model"),
    ("identity_map", pa.list_(pa.int32()), True, "identity of each of its clusters 0 to K-1; null until promoted"),
    ("measure", pa.string(), True, "nmi, or neighbour_agreement without labels; null: not compared"),
    ("value", pa.float64(), True, "of this model on the images compared, at most 1, higher is better"),
    ("value_in_service", pa.float64(), True, "of the model that was in service, on the same images"),
    ("images", pa.int32(), True, "test images compared, of subjects that neither model was trained on"),
    ("left_out", pa.int32(), True, "test images left out, of subjects that one of them was trained on"),
    ("risk", pa.float64(), True, "chance that this model is worse by more than the tolerance, 0 to 1"),
    ("state", pa.string(), False, "hash that stands for the history up to here"),
)

BATCH_ASSIGNMENTS = _schema(
    _image_id("image_id of the clean image"),
    ("cluster", pa.int32(), False, "identity of the cluster: the same number for the same cluster over renewals"),
    ("confidence", pa.float32(), False, "probability of the cluster under the model in service, 0 to 1"),
    ("neighbor_ids", pa.list_(pa.string()), False, "nearest training images of the model, most similar first"),
    ("similarities", pa.list_(pa.float32()), False, "cosine similarity of each neighbour, -1 to 1"),
    ("ood_score", pa.float32(), False, "share of held-out images nearer to the training images; 1: unlike all of them"),
    ("model_version", pa.int32(), False, "number of the model in service that assigned it"),
)

# asset key -> schema of its table
TABLES: dict[str, pa.Schema] = {
    "scans": SCANS,
    "rejected_scans": REJECTED_SCANS,
    "burned_in_text": BURNED_IN_TEXT,
    "pseudo_labels": PSEUDO_LABELS,
    "clean_images": CLEAN_IMAGES,
    "corpus": CORPUS,
    **{f"{encoder}_embeddings": EMBEDDINGS for encoder in ("simclr", "dino")},
    **{f"{encoder}_neighbors": NEIGHBORS for encoder in ("simclr", "dino")},
    # One table per row of the paper's Table 1.
    "deepmcat": CLUSTERS,
    "kmeans_simclr": CLUSTERS,
    "kmeans_dino": CLUSTERS,
    "fusc_simclr": CLUSTERS,
    "fusc_simclr_selflabel": CLUSTERS,
    "fusc_dino": CLUSTERS,
    "fusc_dino_selflabel": CLUSTERS,
    "supervised": CLUSTERS,
    "purity_report": PURITY,
    "cluster_composition": COMPOSITION,
    "external_purity": EXTERNAL_PURITY,
    "inpainting_audit": INPAINTING_AUDIT,
    "label_audit": LABEL_AUDIT,
    "candidate_model": CANDIDATE_MODEL,
    "model_in_service": MODEL_IN_SERVICE,
    "batch_assignments": BATCH_ASSIGNMENTS,
}
