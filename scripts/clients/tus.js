// tus-js-client uploads a file, breaks off in the middle and resumes: tus.js PROTOCOL ENDPOINT FILE [NAME],
// the name by which a folder is to know it. With TUS_STREAM=1 it reads the file as a stream.
// The authority is in NODE_EXTRA_CA_CERTS, the module in NODE_PATH.
'use strict';
const fs = require('node:fs');
const tus = require('tus-js-client');

const [protocol, endpoint, file, name] = process.argv.slice(2);
// Of a stream, tus-js-client 4.3 says in the draft's mode that its last piece is not the last.
const content = () => (process.env.TUS_STREAM ? fs.createReadStream(file) : fs.readFileSync(file));
const size = fs.statSync(file).size;
const settings = {
    protocol,
    endpoint,
    uploadSize: size,
    metadata: name ? { filename: name } : {},
    chunkSize: 3000000,
    retryDelays: null,
    onError: (error) => {
        console.error(String(error));
        process.exit(1);
    },
};

let url = null;
const first = new tus.Upload(content(), {
    ...settings,
    onUploadUrlAvailable: () => {
        url = first.url;
    },
    onProgress: (sent) => {
        // In the middle of a piece, the second at the earliest.
        if (sent > 4000000 && url !== null && !stopped) {
            stopped = true;
            first.abort().then(resume, settings.onError);
        }
    },
    onSuccess: () => settings.onError('it was done before it could be broken off'),
});
let stopped = false;
first.start();

function resume() {
    const offsets = [];
    const second = new tus.Upload(content(), {
        ...settings,
        uploadUrl: url,
        // The server says how far the first one came.
        onAfterResponse: (request, response) => {
            if (request.getMethod() === 'HEAD') {
                offsets.push(Number(response.getHeader('Upload-Offset')));
            }
        },
        onSuccess: () => {
            if (offsets.length !== 1 || !(offsets[0] > 0 && offsets[0] < size)) {
                settings.onError(`it did not resume: ${offsets}`);
            }
            console.log(`resumed at ${offsets[0]} of ${size}`);
        },
    });
    second.start();
}
