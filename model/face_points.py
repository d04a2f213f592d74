"""Points of the face mesh, by number.

The numbers are those of the 468 points of mediapipe's face mesh (Kartynnik et al. 2019, arXiv 1907.06724), as its
canonical face model and its lists of connections (lips, eyes, brows, face oval) number them. The refined mesh adds ten
points of the irises; they are not used here. Left and right are those of the picture, for a face that looks at the
camera.
"""

from __future__ import annotations

from typing import Final

POINTS: Final = 468

FOREHEAD: Final = 10  # the top of the face's outline
CHIN: Final = 152  # its lowest point

# Lips, as four rings from the inner to the outer edge. Each half ring runs from the left corner to the right one,
# without the corners.
# fmt: off
UPPER_LIP_RINGS: Final = (
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
    (183, 42, 41, 38, 12, 268, 271, 272, 407),
    (184, 74, 73, 72, 11, 302, 303, 304, 408),
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
)
LOWER_LIP_RINGS: Final = (
    (95, 88, 178, 87, 14, 317, 402, 318, 324),
    (96, 89, 179, 86, 15, 316, 403, 319, 325),
    (77, 90, 180, 85, 16, 315, 404, 320, 307),
    (146, 91, 181, 84, 17, 314, 405, 321, 375),
)
# fmt: on
LEFT_CORNERS: Final = (78, 62, 76, 61)  # of the mouth, inner ring to outer ring
RIGHT_CORNERS: Final = (308, 292, 306, 291)
LEFT_CORNER, RIGHT_CORNER = LEFT_CORNERS[3], RIGHT_CORNERS[3]
UPPER_LIP, LOWER_LIP = UPPER_LIP_RINGS[0][4], LOWER_LIP_RINGS[0][4]  # the middle of each inner edge

# Outer and inner edge of the lips: the 40 points that mediapipe lists as "lips".
LIP_EDGES: Final = (
    *(LEFT_CORNERS[3], *LOWER_LIP_RINGS[3], RIGHT_CORNERS[3], *UPPER_LIP_RINGS[3]),
    *(LEFT_CORNERS[0], *LOWER_LIP_RINGS[0], RIGHT_CORNERS[0], *UPPER_LIP_RINGS[0]),
)

LEFT_EYE, RIGHT_EYE = 33, 263  # outer corners
EYE_CORNERS: Final = (LEFT_EYE, 133, 362, RIGHT_EYE)
# Lids without the corners: first of the left eye, then of the right eye, each from the outer to the inner corner.
# Entry k of the upper lids lies opposite entry k of the lower lids.
UPPER_LIDS: Final = (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398)
LOWER_LIDS: Final = (7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382)

NOSE_BRIDGE: Final = (168, 6, 197, 195, 5)  # from between the eyes down to just above the tip
NOSE_TIP: Final = 1
LEFT_BROW, RIGHT_BROW = (70, 105, 107), (336, 334, 300)  # from left to right

# The outline of the face: from the right ear over the chin to the left ear, and all around.
# fmt: off
JAW_OUTLINE: Final = (
    454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234,
)
FACE_OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, *JAW_OUTLINE, 127, 162, 21, 54, 103, 67, 109,
)
# fmt: on

# Points on plain skin.
LEFT_CHEEK, RIGHT_CHEEK = 50, 280
SKIN: Final = (LEFT_CHEEK, RIGHT_CHEEK, 205, 425, 151, 9, 199)  # cheeks, forehead, chin
SKIN_AROUND_MOUTH: Final = (LEFT_CHEEK, RIGHT_CHEEK, 206, 426, 18, 200)

# Edges of the skin on which a beard grows.
BELOW_NOSE: Final = (322, 391, 393, 164, 167, 165, 92)  # from right to left
RIGHT_OF_CHIN, LEFT_OF_CHIN = (434, 432), (212, 214)  # each in the order of a walk around the beard
CHIN_PATCH: Final = (176, 148, 152, 377, 400, 421, 314, 17, 84, 201)
