"""The labels of which BirdNET 2.4's range model knows nothing, by scientific name.

The model was taught birds. It gives frogs, mammals, insects and noises, and birds of very small range, less than 0.03
wherever and whenever it is asked. For them that means "never taught", not "never there": a coyote in Alberta gets
0.0000008. BirdNET's own tools take a species as possible from 0.03 on.

Found by asking for every whole degree from 60 S to 79 N, over the whole year and in weeks 20 and 40;
`tests/badc/species/test_range_model.py` asks again.
"""

OUTSIDE = frozenset(
    """
Acanthidops bairdi; Acris crepitans; Acris gryllus; Aegolius ridgwayi; Aerodramus bartschi; Allonemobius allardi;
Allonemobius tinnulus; Allonemobius walkeri; Alouatta pigra; Amblycorypha alexanderi; Amblycorypha longinicta;
Amblycorypha oblongifolia; Amblycorypha rotundifolia; Anaxipha exigua; Anaxyrus americanus; Anaxyrus canorus; Anaxyrus
cognatus; Anaxyrus fowleri; Anaxyrus houstonensis; Anaxyrus microscaphus; Anaxyrus quercicus; Anaxyrus speciosus;
Anaxyrus terrestris; Anaxyrus woodhousii; Antrostomus noctitherus; Antrostomus saturatus; Aphanotriccus capitalis;
Apis mellifera; Arremon costaricensis; Arremon crassirostris; Athene blewitti; Atlanticus testaceus; Atlapetes
flaviceps; Atlapetes pallidiceps; Atlapetes tibialis; Basileuterus melanogenys; Basileuterus melanotis; Brachypteryx
goodfellowi; Canis latrans; Canis lupus; Catharus gracilirostris; Chamaepetes unicolor; Chasiempis ibidis;
Chlorodrepanis flava; Chlorospingus pileatus; Conocephalus brevipennis; Conocephalus fasciatus; Contopus lugubris;
Copsychus cebuensis; Corvus hawaiiensis; Cyrtoxipha columbiana; Dog; Drymophila caudata; Dryophytes andersonii;
Dryophytes arenicolor; Dryophytes avivoca; Dryophytes chrysoscelis; Dryophytes cinereus; Dryophytes femoralis;
Dryophytes gratiosus; Dryophytes squirellus; Dryophytes versicolor; Eleutherodactylus planirostris; Empidonax
atriceps; Engine; Environmental; Eugenes spectabilis; Eumyias albicaudatus; Eunemobius carolinus; Eunemobius confusus;
Ficedula nigrorufa; Fireworks; Formicivora erythronotos; Fulvetta formosana; Gastrophryne carolinensis; Gastrophryne
olivacea; Glaucidium costaricanum; Grallaria alleni; Grallaria gigantea; Grallaria kaestneri; Grallaria milleri;
Grallaria rufocinerea; Grallaria urraoensis; Grallaricula cucullata; Grallaricula lineifrons; Grallaricula peruviana;
Gryllus assimilis; Gryllus fultoni; Gryllus pennsylvanicus; Gryllus rubens; Gun; Gymnasio nudipes; Hapalopsittaca
fuertesi; Henicorhina anachoreta; Human non-vocal; Human vocal; Human whistle; Hyliola regilla; Incilius valliceps;
Laticilla cinerascens; Lipaugus weberi; Lithobates catesbeianus; Lithobates clamitans; Lithobates palustris;
Lithobates sylvaticus; Locustella alishanensis; Loxia sinesciuris; Loxioides bailleui; Machlolophus holsti;
Margarornis rubiginosus; Megascops clarkii; Megascops gilesi; Melozone cabanisi; Microcentrum rhombifolium; Miogryllus
saussurei; Montecincla fairbanki; Myadestes palmeri; Myioborus torquatus; Myiodynastes hemichrysus; Myiotheretes
pernix; Myiothlypis basilica; Neoconocephalus bivocatus; Neoconocephalus ensiger; Neoconocephalus retusus;
Neoconocephalus robustus; Neonemobius cubensis; Nesospingus speculiferus; Noise; Odocoileus virginianus; Odontophorus
columbianus; Odontophorus leucolaemus; Oecanthus celerinictus; Oecanthus exclamationis; Oecanthus fultoni; Oecanthus
nigricornis; Oecanthus niveus; Oecanthus pini; Oecanthus quadripunctatus; Orchelimum agile; Orchelimum concinnum;
Orchelimum pulchellum; Oreomystis bairdi; Oreothlypis gutturalis; Orocharis saltator; Panterpe insignis; Penelope
perspicax; Perdicula erythrorhyncha; Pezopetes capitalis; Pheucticus tibialis; Phyllopalpus pulchellus; Phylloscartes
lanyoni; Pipreola lubomirskii; Piprites griseiceps; Pnoepyga formosana; Power tools; Pseudacris brimleyi; Pseudacris
clarkii; Pseudacris crucifer; Pseudacris feriarum; Pseudacris nigrita; Pseudacris ocularis; Pseudacris ornata;
Pseudacris streckeri; Pseudacris triseriata; Pterophylla camellifolia; Pterorhinus delesserti; Pterorhinus
poecilorhynchus; Pyrrhura orcesi; Pyrrhura viridicata; Regulus goodfellowi; Scaphiopus couchii; Schoenicola platyurus;
Sciurus carolinensis; Scudderia curvicauda; Scudderia furcata; Scudderia texensis; Scytalopus androstictus; Scytalopus
argentifrons; Scytalopus canus; Scytalopus robbinsi; Semnornis frantzii; Setophaga kirtlandii; Sholicola albiventris;
Sholicola major; Siren; Sittiparus castaneoventris; Sittiparus owstoni; Spea bombifrons; Tamias striatus; Tamiasciurus
hudsonicus; Tangara dowii; Tarsiger johnstoniae; Telespiza ultima; Thripadectes rufobrunneus; Thryophilus sernai;
Trochalopteron morrisonianum; Trogon clathratus; Turdus nigrescens; Vireo carmioli; Vireo latimeri; Zeledonia
coronata; Zentrygon lawrencii
""".replace("\n", " ")
    .strip()
    .split("; ")
)
