"""The puppet corpus: talking clips with exact labels, made from still faces and speech.

Recordings of talking people that may be used for anything hardly exist; faces and voices that may do. So:

    sentences -> espeak, flite (speech.py), or recordings timed by their words (recordings.py, timing.py)
              -> sound and phonemes with times -> articulation.py: how a mouth moves, 25 rows a second
    picture   -> people.py: who, and who is held out -> camera.py, beard.py, shape.py: another person of it
              -> puppet.py bends its mesh (mesh.py, warp.py) and mouth.py paints what is between the lips
    both      -> build.py: one clip folder each, through the detect and crop of serving (handed in)

What is known to be missing: lips keep their texture when they stretch or roll in, so they have no folds; cheeks and
neck follow the jaw only by the mesh; teeth are a drawing; nobody smiles or frowns while talking; faces look within 16
degrees of the camera; the source faces are mostly young, and darker tones are recolourings, not other people.
"""
