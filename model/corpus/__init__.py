"""The puppet corpus: talking clips with exact labels, made from still faces and speech.

Recordings of talking people that are free for any use hardly exist. Free faces and free voices do exist. So:

    sentences -> espeak, flite (speech.py), or recordings timed by their text (recordings.py, timing.py)
              -> sound, and phonemes with times -> articulation.py: how a mouth moves, 25 rows a second
    picture   -> people.py: identities and splits -> camera.py, beard.py, shape.py: variations of a face
              -> puppet.py bends its mesh (mesh.py, warp.py), and mouth.py paints the inside of the mouth
    both      -> clip_maker.py, build.py: one clip folder each, cropped as in serving (the writer is handed in)

Known limits: lips keep their texture when they stretch or roll in, so they have no folds. Cheeks and neck follow the
jaw only through the mesh. Teeth are drawn. Nobody changes expression while talking. Faces are turned at most 16 degrees
from the camera. Most source faces are young, and darker skin tones are recoloured pictures, not other people.
"""
